#include "common/kv/prefix_index.h"

#include <algorithm>

#include "common/base/check.h"

namespace tandem {

std::optional<BlockId> PrefixIndex::Find(const PrefixLink& link,
                                         absl::Span<const TokenId> tokens) const {
  TANDEM_CHECK(tokens.size() == kBlockTokens);
  const auto it = entries_.find(link.hash);
  if (it == entries_.end()) return std::nullopt;
  const Entry& entry = it->second;
  if (entry.parent != link.parent || tokens != absl::MakeConstSpan(entry.tokens)) {
    return std::nullopt;
  }
  return entry.block;
}

void PrefixIndex::Insert(BlockId block, const PrefixLink& link, absl::Span<const TokenId> tokens) {
  TANDEM_CHECK(tokens.size() == kBlockTokens);
  Entry entry{.block = block, .parent = link.parent, .tokens = {}};
  std::copy(tokens.begin(), tokens.end(), entry.tokens.begin());
  TANDEM_CHECK(entries_.emplace(link.hash, entry).second);
}

void PrefixIndex::Erase(BlockId block, const BlockHash& hash) {
  const auto it = entries_.find(hash);
  TANDEM_CHECK(it != entries_.end() && it->second.block == block);
  entries_.erase(it);
}

}  // namespace tandem
