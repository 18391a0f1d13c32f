// BytePairMerger splits one word into the tokens of a byte-level vocabulary: it starts from single
// bytes and always merges the adjacent pair of the best rank, the leftmost of equals.
// Immutable after Create, thread-safe. Time: O(n log n) for a word of n bytes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/base/ids.h"

namespace tandem {

class BytePairMerger {
 public:
  // `tokens` in the byte-level alphabet, `merges` as "left right", best first.
  // INVALID_ARGUMENT when a merge is not two tokens whose concatenation is a token.
  static absl::StatusOr<BytePairMerger> Create(absl::Span<const std::string> tokens,
                                               absl::Span<const std::string> merges);

  // Appends the tokens of `word`. Bytes without a symbol in the vocabulary are dropped first, so
  // their neighbours may merge. REQUIRES: fewer than 2^31 bytes.
  void Split(absl::string_view word, std::vector<TokenId>& out) const;

 private:
  struct Merge {
    uint32_t rank;
    TokenId result;
  };

  BytePairMerger() = default;
  const Merge* Find(TokenId left, TokenId right) const;
  void SplitShort(std::vector<TokenId>& symbols) const;
  template <class Queue>
  void SplitLong(std::vector<TokenId>& symbols) const;

  std::array<TokenId, 256> byte_symbols_;        // -1: the vocabulary lacks it
  absl::flat_hash_map<uint64_t, Merge> merges_;  // by left and right id
};

}  // namespace tandem
