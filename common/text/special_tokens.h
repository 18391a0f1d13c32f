// SpecialTokens finds the added tokens of a vocabulary in text: at each place the longest one, from
// left to right. Immutable after the last Add, thread-safe then.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "common/base/ids.h"

namespace tandem {

class SpecialTokens {
 public:
  struct Match {
    size_t begin, end;  // bytes
    TokenId id;
  };

  // `control`: recognised in trusted text only. An empty `text` is ignored.
  void Add(absl::string_view text, TokenId id, bool control);

  // The id of the token that is spelled exactly so.
  std::optional<TokenId> Find(absl::string_view text) const;

  // The first match that starts in [from, to). Control tokens match only while the text before
  // `to` is trusted, and end at `to` at the latest; others may extend to the end of `text`.
  std::optional<Match> FindNext(absl::string_view text, size_t from, size_t to, bool trusted) const;

 private:
  struct Node {
    TokenId id = -1;
    bool control = false;
  };

  // A trie: the child of node n by byte b has the key n * 256 + b.
  std::optional<uint32_t> Child(uint32_t node, char byte) const;

  std::vector<Node> nodes_ = {Node{}};
  absl::flat_hash_map<uint64_t, uint32_t> children_;
};

}  // namespace tandem
