// KvCache: a worker's KV blocks with prefix sharing; the one object through which a core uses
// memory. It joins BlockPool (who holds a block) and PrefixIndex (what a block holds). Owned by the
// core; core thread only; must outlive all leases it gave out.
//
// A sequence's tokens travel with its PrefixChain: `tokens` always starts at token 0 and covers the
// chain's full blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/base/ids.h"
#include "common/kv/block_pool.h"
#include "common/kv/block_size.h"
#include "common/kv/kv_lease.h"
#include "common/kv/prefix_chain.h"
#include "common/kv/prefix_index.h"

namespace tandem {

// Counted from the start, in blocks of kBlockTokens tokens.
struct KvCacheStats {
  uint64_t hit_blocks = 0;        // found by MatchPrefix
  uint64_t missed_blocks = 0;     // asked of MatchPrefix and not found
  uint64_t published_blocks = 0;  // entered the index
  uint64_t displaced_blocks = 0;  // were in the index already when published
  uint64_t evicted_blocks = 0;
};

class KvCache {
 public:
  // Evicts by LruEviction.
  explicit KvCache(uint32_t num_blocks);
  KvCache(uint32_t num_blocks, std::unique_ptr<EvictionPolicy> policy);

  // See BlockPool.
  absl::StatusOr<KvLease> Acquire(uint32_t n) { return pool_.Acquire(n); }
  absl::StatusOr<LandingLease> AcquireLanding(uint32_t n) { return pool_.AcquireLanding(n); }
  void EndQuarantine(QuarantineLease&& lease) { pool_.EndQuarantine(std::move(lease)); }

  // How many leading blocks of the sequence, at most `max_blocks`, are here now. Holds nothing,
  // counts nothing.
  size_t CountPrefix(const PrefixChain& chain, absl::Span<const TokenId> tokens,
                     size_t max_blocks) const;
  // References to those blocks.
  KvLease MatchPrefix(const PrefixChain& chain, absl::Span<const TokenId> tokens,
                      size_t max_blocks);

  // Makes place `i` of `lease`, which holds block `block` of the sequence with all its KV written
  // (FILLING or READY), READY and findable. When the same content is indexed already, that block
  // takes the place, and the one that was there is returned: the caller keeps it until no step or
  // push in flight uses it. Otherwise the result is empty.
  [[nodiscard]] KvLease Publish(KvLease& lease, size_t i, const PrefixChain& chain, size_t block,
                                absl::Span<const TokenId> tokens);

  const BlockPool& pool() const { return pool_; }
  const KvCacheStats& stats() const { return stats_; }

 private:
  PrefixIndex index_;
  KvCacheStats stats_;
  BlockPool pool_;  // last: it calls back into the index
};

}  // namespace tandem
