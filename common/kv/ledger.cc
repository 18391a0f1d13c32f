#include "common/kv/ledger.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/check.h"

namespace tandem {

Booking::Booking(Booking&& other) noexcept
    : ledger_(std::exchange(other.ledger_, nullptr)), blocks_(std::exchange(other.blocks_, 0)) {}

Booking& Booking::operator=(Booking&& other) noexcept {
  if (this == &other) return *this;
  Release();
  ledger_ = std::exchange(other.ledger_, nullptr);
  blocks_ = std::exchange(other.blocks_, 0);
  return *this;
}

void Booking::Release() {
  if (ledger_ == nullptr) return;
  ledger_->booked_ -= blocks_;
  ledger_ = nullptr;
  blocks_ = 0;
}

Ledger::Ledger(const BlockPool* pool, uint32_t reserve) : pool_(pool), reserve_(reserve) {}

Ledger::~Ledger() { TANDEM_CHECK_MSG(booked_ == 0, "a booking outlives its ledger"); }

absl::StatusOr<Booking> Ledger::Book(uint32_t blocks) {
  if (blocks > capacity()) {
    return absl::OutOfRangeError(
        absl::StrCat(blocks, " KV blocks needed, this worker has ", capacity()));
  }
  if (blocks > available()) {
    return absl::ResourceExhaustedError(
        absl::StrCat(blocks, " KV blocks needed, ", available(), " not booked"));
  }
  booked_ += blocks;
  return Booking(this, blocks);
}

uint32_t Ledger::capacity() const {
  return pool_->num_blocks() - std::min(reserve_, pool_->num_blocks());
}

uint32_t Ledger::available() const {
  const uint32_t taken = booked_ + pool_->count(BlockState::kQuarantined);
  return capacity() - std::min(taken, capacity());
}

}  // namespace tandem
