// The block hashes of one growing sequence: append tokens, read the hash of every full block. Does
// not keep the tokens; the sequence does.
#pragma once

#include <array>
#include <cstddef>
#include <vector>

#include "absl/types/span.h"
#include "common/base/ids.h"
#include "common/kv/block_hash.h"
#include "common/kv/block_size.h"

namespace tandem {

class PrefixChain {
 public:
  PrefixChain(const HashSecret& secret, const BlockHash& root) : secret_(secret), root_(root) {}

  void Append(TokenId token);
  void Append(absl::Span<const TokenId> tokens);

  // One per full block so far.
  absl::Span<const BlockHash> hashes() const { return hashes_; }
  size_t size() const { return hashes_.size(); }
  // REQUIRES: block < size().
  PrefixLink Link(size_t block) const;

 private:
  HashSecret secret_;
  BlockHash root_;
  std::vector<BlockHash> hashes_;
  std::array<TokenId, kBlockTokens> partial_{};  // tokens after the last full block
  size_t partial_size_ = 0;
};

}  // namespace tandem
