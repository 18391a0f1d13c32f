// Ownership of KV blocks. A lease is move-only and gives its blocks back when it ends; there is no
// other way to free a block. Leases belong to the core thread and must not outlive their BlockPool.
//
//   KvLease          references to FILLING or READY blocks, in logical order
//   LandingLease     the blocks of one grant that a peer may still write
//   QuarantineLease  blocks of a revoked grant, until the transport can no longer write them
#pragma once

#include <cstddef>
#include <vector>

#include "absl/types/span.h"
#include "common/base/ids.h"

namespace tandem {

class BlockPool;

// One reference to each of its blocks. When the last reference to a block goes: FILLING becomes
// FREE, READY becomes CACHED when indexed, else FREE. "Freed at in-flight zero" is a Share() held
// by whatever is in flight: a step, a push.
class KvLease {
 public:
  KvLease() = default;
  KvLease(KvLease&& other) noexcept;
  KvLease& operator=(KvLease&& other) noexcept;
  ~KvLease() { Clear(); }

  size_t size() const { return blocks_.size(); }
  bool empty() const { return blocks_.empty(); }
  BlockId at(size_t i) const;
  absl::Span<const BlockId> ids() const { return blocks_; }

  // Puts the other's blocks behind ours. REQUIRES: both of one pool.
  void Append(KvLease&& other);
  // Takes `n` blocks out, from the front or the back, in order. REQUIRES: n <= size().
  KvLease TakeFront(size_t n);
  KvLease TakeBack(size_t n);
  // Gives back all but the first `n` blocks. REQUIRES: n <= size().
  void Truncate(size_t n);
  void Clear();

  // Further references to blocks [first, first + n). Whoever holds one to a FILLING block may read
  // what is already written of it; only its first holder has it written.
  KvLease Share(size_t first, size_t n) const;
  KvLease ShareAll() const { return Share(0, size()); }

  // Puts the only block of `replacement` at place `i`; returns what was there.
  KvLease Replace(size_t i, KvLease&& replacement);

 private:
  friend class BlockPool;
  KvLease(BlockPool* pool, std::vector<BlockId> blocks) : pool_(pool), blocks_(std::move(blocks)) {}

  BlockPool* pool_ = nullptr;  // null only while empty
  std::vector<BlockId> blocks_;
};

// LANDING blocks of revoked or failed grants. Only BlockPool::EndQuarantine frees them; a
// QuarantineLease that is dropped leaves them QUARANTINED for the life of the pool, which is the
// safe side.
class QuarantineLease {
 public:
  QuarantineLease() = default;
  QuarantineLease(QuarantineLease&& other) noexcept;
  QuarantineLease& operator=(QuarantineLease&& other) noexcept;

  size_t size() const { return blocks_.size(); }
  bool empty() const { return blocks_.empty(); }
  absl::Span<const BlockId> ids() const { return blocks_; }

 private:
  friend class BlockPool;
  QuarantineLease(BlockPool* pool, std::vector<BlockId> blocks)
      : pool_(pool), blocks_(std::move(blocks)) {}

  BlockPool* pool_ = nullptr;
  std::vector<BlockId> blocks_;
};

// The blocks of one grant, by their place in it. Each is committed at most once; what was not
// committed must go to quarantine before the lease ends (CHECKed): the transport may be writing it.
class LandingLease {
 public:
  LandingLease() = default;
  LandingLease(LandingLease&& other) noexcept;
  LandingLease& operator=(LandingLease&& other) noexcept;
  ~LandingLease();

  size_t size() const { return blocks_.size(); }
  // Physical blocks of the whole grant, committed ones included.
  absl::Span<const BlockId> ids() const { return blocks_; }
  size_t uncommitted() const { return uncommitted_; }

  // LANDING to READY for places [first, first + n), once every byte of them was received and
  // verified. REQUIRES: none of them was committed before.
  KvLease Commit(size_t first, size_t n);

  // Ends the lease; what was not committed goes to quarantine (nothing, when all was).
  QuarantineLease Quarantine() &&;

 private:
  friend class BlockPool;
  LandingLease(BlockPool* pool, std::vector<BlockId> blocks);

  BlockPool* pool_ = nullptr;
  std::vector<BlockId> blocks_;
  std::vector<bool> committed_;
  size_t uncommitted_ = 0;
};

// Lengths of the runs of consecutive ids in `blocks`, in order: what a Grant tells the sender.
std::vector<uint32_t> RunLengths(absl::Span<const BlockId> blocks);

}  // namespace tandem
