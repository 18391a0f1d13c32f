// BlockPool: hands out the physical blocks [0, num_blocks) of a worker's arena as leases
// (kv_lease.h) and keeps the state of each (block_state.h). Owned by a KvCache, through which the
// cores use it. Core thread only.
//
// It knows ids; the memory belongs to KvArena. It does not know what a block holds: it is told that
// a block is indexed.
//
// Invariants: every block is in exactly one state, and every change follows MayBecome(). A FILLING
// or READY block has references, all others have none. A CACHED block is indexed. A block that
// becomes FREE gets a new generation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/ids.h"
#include "common/kv/block_hash.h"
#include "common/kv/block_state.h"
#include "common/kv/eviction_policy.h"
#include "common/kv/free_runs.h"
#include "common/kv/kv_lease.h"

namespace tandem {

class BlockPool {
 public:
  // Told of each CACHED block that is freed for room, before its id is handed out again. Must not
  // call the pool.
  using OnEvicted = std::function<void(BlockId, const PrefixLink&)>;

  BlockPool(uint32_t num_blocks, std::unique_ptr<EvictionPolicy> policy, OnEvicted on_evicted);
  // REQUIRES: every KvLease and LandingLease has ended.
  ~BlockPool();
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;

  // FILLING blocks for the own runner, or LANDING blocks for a grant, in few contiguous runs. FREE
  // blocks are taken first, then CACHED ones are evicted, a 32nd of the pool more than are wanted.
  // All or nothing: RESOURCE_EXHAUSTED leaves the pool as it was.
  absl::StatusOr<KvLease> Acquire(uint32_t n);
  absl::StatusOr<LandingLease> AcquireLanding(uint32_t n);

  // QUARANTINED to FREE: the transport has answered that it writes none of these any more.
  void EndQuarantine(QuarantineLease&& lease);

  // FILLING to READY: all its KV is written.
  void MarkReady(const KvLease& lease, size_t i);
  // The READY block is in the index from now on, until OnEvicted. REQUIRES: it was not.
  void MarkIndexed(const KvLease& lease, size_t i, const PrefixLink& link);
  // One more reference to an indexed block, READY or CACHED. REQUIRES: it is indexed.
  KvLease Pin(BlockId block);

  uint32_t num_blocks() const { return states_.size(); }
  uint32_t count(BlockState state) const { return states_.count(state); }
  // What Acquire can give: FREE and CACHED.
  uint32_t available() const { return count(BlockState::kFree) + count(BlockState::kCached); }

  BlockState state(BlockId block) const { return states_.at(block); }
  uint32_t references(BlockId block) const;
  bool indexed(BlockId block) const;
  // Changes whenever the block is freed.
  uint32_t generation(BlockId block) const;

  // For tests: recounts everything and CHECKs the invariants. O(num_blocks).
  void CheckConserved() const;

 private:
  friend class KvLease;
  friend class LandingLease;

  struct Block {
    uint32_t references = 0;
    uint32_t generation = 0;
    std::optional<PrefixLink> link;  // set while indexed
  };

  Block& Get(BlockId block);
  const Block& Get(BlockId block) const;
  void Free(BlockId id);
  void AddReference(BlockId id);
  void DropReference(BlockId id);
  KvLease FinishLanding(std::vector<BlockId> ids);
  QuarantineLease StartQuarantine(std::vector<BlockId> ids);
  absl::StatusOr<std::vector<BlockId>> TakeFree(uint32_t n);
  void EvictOne();

  BlockStates states_;
  std::vector<Block> blocks_;
  FreeRuns free_;
  std::unique_ptr<EvictionPolicy> policy_;
  OnEvicted on_evicted_;
};

}  // namespace tandem
