#include "common/kv/prefix_chain.h"

#include "common/base/check.h"

namespace tandem {

void PrefixChain::Append(TokenId token) {
  partial_[partial_size_++] = token;
  if (partial_size_ < kBlockTokens) return;
  hashes_.push_back(HashBlock(secret_, hashes_.empty() ? root_ : hashes_.back(), partial_));
  partial_size_ = 0;
}

void PrefixChain::Append(absl::Span<const TokenId> tokens) {
  hashes_.reserve(hashes_.size() + (partial_size_ + tokens.size()) / kBlockTokens);
  for (const TokenId token : tokens) Append(token);
}

PrefixLink PrefixChain::Link(size_t block) const {
  TANDEM_CHECK(block < hashes_.size());
  return {.hash = hashes_[block], .parent = block == 0 ? root_ : hashes_[block - 1]};
}

}  // namespace tandem
