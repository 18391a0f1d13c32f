// The default policy: the block that has been cached longest, leaves before parents. A parent waits
// until none of its children is cached, so a prefix shrinks from its end and what stays can be hit.
// Deterministic.
#pragma once

#include <cstdint>
#include <set>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "common/kv/eviction_policy.h"

namespace tandem {

class LruEviction : public EvictionPolicy {
 public:
  void Add(BlockId block, const PrefixLink& link) override;
  void Remove(BlockId block) override;
  BlockId Victim() const override;

 private:
  struct Cached {
    PrefixLink link;
    uint64_t since = 0;
  };
  bool HasCachedChild(const BlockHash& hash) const { return children_.contains(hash); }

  uint64_t clock_ = 0;  // counts additions
  absl::flat_hash_map<BlockId, Cached> blocks_;
  absl::flat_hash_map<BlockHash, BlockId> by_hash_;
  absl::flat_hash_map<BlockHash, uint32_t> children_;  // cached children by parent; no zero entries
  std::set<std::pair<uint64_t, BlockId>>
      leaves_;  // (since, block) of blocks without cached children
};

}  // namespace tandem
