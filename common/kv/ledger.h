// Ledger: admission by count. A request books the most blocks it is expected to hold (prompt and
// growth; cache hits not discounted, since they may be gone when it runs) before any physical block
// is taken. What may be booked is the pool's total without the reserve and without what is
// quarantined now. Owned by the core; core thread only.
//
// Not for: finding blocks. A booking is a promise that they can be had, if need be by preemption.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "common/kv/block_pool.h"

namespace tandem {

class Ledger;

// Blocks booked; gives them back when it ends. Must not outlive its Ledger.
class Booking {
 public:
  Booking() = default;
  Booking(Booking&& other) noexcept;
  Booking& operator=(Booking&& other) noexcept;
  ~Booking() { Release(); }

  uint32_t blocks() const { return blocks_; }
  void Release();

 private:
  friend class Ledger;
  Booking(Ledger* ledger, uint32_t blocks) : ledger_(ledger), blocks_(blocks) {}

  Ledger* ledger_ = nullptr;
  uint32_t blocks_ = 0;
};

class Ledger {
 public:
  // `pool` must outlive the ledger. `reserve` blocks are never booked.
  Ledger(const BlockPool* pool, uint32_t reserve);
  ~Ledger();
  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;

  // OUT_OF_RANGE: more than could ever be booked here. RESOURCE_EXHAUSTED: not now. Both leave the
  // ledger as it was.
  absl::StatusOr<Booking> Book(uint32_t blocks);

  uint32_t booked() const { return booked_; }
  // The most that can be booked when nothing is booked or quarantined.
  uint32_t capacity() const;
  // What can be booked now.
  uint32_t available() const;

 private:
  friend class Booking;

  const BlockPool* pool_;
  uint32_t reserve_;
  uint32_t booked_ = 0;
};

}  // namespace tandem
