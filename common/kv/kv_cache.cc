#include "common/kv/kv_cache.h"

#include <algorithm>
#include <utility>

#include "common/base/check.h"
#include "common/kv/lru_eviction.h"

namespace tandem {
namespace {

absl::Span<const TokenId> TokensOf(absl::Span<const TokenId> tokens, size_t block) {
  TANDEM_CHECK(tokens.size() >= (block + 1) * kBlockTokens);
  return tokens.subspan(block * kBlockTokens, kBlockTokens);
}

}  // namespace

KvCache::KvCache(uint32_t num_blocks) : KvCache(num_blocks, std::make_unique<LruEviction>()) {}

KvCache::KvCache(uint32_t num_blocks, std::unique_ptr<EvictionPolicy> policy)
    : pool_(num_blocks, std::move(policy), [this](BlockId block, const PrefixLink& link) {
        index_.Erase(block, link.hash);
        ++stats_.evicted_blocks;
      }) {}

size_t KvCache::CountPrefix(const PrefixChain& chain, absl::Span<const TokenId> tokens,
                            size_t max_blocks) const {
  const size_t asked = std::min(max_blocks, chain.size());
  size_t found = 0;
  while (found < asked && index_.Find(chain.Link(found), TokensOf(tokens, found))) ++found;
  return found;
}

KvLease KvCache::MatchPrefix(const PrefixChain& chain, absl::Span<const TokenId> tokens,
                             size_t max_blocks) {
  const size_t asked = std::min(max_blocks, chain.size());
  KvLease hits;
  while (hits.size() < asked) {
    const size_t i = hits.size();
    const std::optional<BlockId> block = index_.Find(chain.Link(i), TokensOf(tokens, i));
    if (!block) break;
    hits.Append(pool_.Pin(*block));
  }
  stats_.hit_blocks += hits.size();
  stats_.missed_blocks += asked - hits.size();
  return hits;
}

KvLease KvCache::Publish(KvLease& lease, size_t i, const PrefixChain& chain, size_t block,
                         absl::Span<const TokenId> tokens) {
  const PrefixLink link = chain.Link(block);
  const absl::Span<const TokenId> block_tokens = TokensOf(tokens, block);
  const BlockId own = lease.at(i);
  if (const std::optional<BlockId> indexed = index_.Find(link, block_tokens)) {
    if (*indexed == own) return {};
    ++stats_.displaced_blocks;
    return lease.Replace(i, pool_.Pin(*indexed));
  }
  if (pool_.state(own) == BlockState::kFilling) pool_.MarkReady(lease, i);
  // Another content under the same name: this block stays usable, and cannot be found.
  if (index_.Contains(link.hash)) return {};
  pool_.MarkIndexed(lease, i, link);
  index_.Insert(own, link, block_tokens);
  ++stats_.published_blocks;
  return {};
}

}  // namespace tandem
