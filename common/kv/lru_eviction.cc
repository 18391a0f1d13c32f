#include "common/kv/lru_eviction.h"

#include "common/base/check.h"

namespace tandem {

void LruEviction::Add(BlockId block, const PrefixLink& link) {
  const Cached cached{.link = link, .since = ++clock_};
  TANDEM_CHECK(blocks_.emplace(block, cached).second);
  TANDEM_CHECK(by_hash_.emplace(link.hash, block).second);
  if (!HasCachedChild(link.hash)) leaves_.emplace(cached.since, block);
  // The parent, if it is cached, is a leaf no more.
  if (++children_[link.parent] == 1) {
    if (const auto parent = by_hash_.find(link.parent); parent != by_hash_.end()) {
      leaves_.erase({blocks_.at(parent->second).since, parent->second});
    }
  }
}

void LruEviction::Remove(BlockId block) {
  const auto it = blocks_.find(block);
  TANDEM_CHECK(it != blocks_.end());
  const Cached cached = it->second;
  leaves_.erase({cached.since, block});
  by_hash_.erase(cached.link.hash);
  blocks_.erase(it);

  const auto siblings = children_.find(cached.link.parent);
  if (--siblings->second > 0) return;
  children_.erase(siblings);
  if (const auto parent = by_hash_.find(cached.link.parent); parent != by_hash_.end()) {
    leaves_.emplace(blocks_.at(parent->second).since, parent->second);
  }
}

BlockId LruEviction::Victim() const {
  // Parents form a forest, so wherever there is a cached block there is one without cached
  // children.
  TANDEM_CHECK(!leaves_.empty());
  return leaves_.begin()->second;
}

}  // namespace tandem
