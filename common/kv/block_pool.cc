#include "common/kv/block_pool.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"

namespace tandem {
namespace {

// The part of a pool that is evicted beyond what is wanted, once room has to be made. If only what
// is wanted were, the free blocks would be those few wherever they lie, and after some turnovers of
// the pool no two blocks of a sequence would be neighbours: a segment for each.
constexpr uint32_t kEvictedAhead = 32;

}  // namespace

BlockPool::BlockPool(uint32_t num_blocks, std::unique_ptr<EvictionPolicy> policy,
                     OnEvicted on_evicted)
    : states_(num_blocks),
      blocks_(num_blocks),
      free_(num_blocks),
      policy_(std::move(policy)),
      on_evicted_(std::move(on_evicted)) {}

BlockPool::~BlockPool() {
  TANDEM_CHECK_MSG(
      count(BlockState::kLanding) + count(BlockState::kFilling) + count(BlockState::kReady) == 0,
      "a lease outlives its pool");
}

absl::StatusOr<KvLease> BlockPool::Acquire(uint32_t n) {
  ASSIGN_OR_RETURN(std::vector<BlockId> ids, TakeFree(n));
  for (const BlockId id : ids) {
    states_.Become(id, BlockState::kFilling);
    Get(id).references = 1;
  }
  return KvLease(this, std::move(ids));
}

absl::StatusOr<LandingLease> BlockPool::AcquireLanding(uint32_t n) {
  ASSIGN_OR_RETURN(std::vector<BlockId> ids, TakeFree(n));
  for (const BlockId id : ids) states_.Become(id, BlockState::kLanding);
  return LandingLease(this, std::move(ids));
}

void BlockPool::EndQuarantine(QuarantineLease&& lease) {
  const QuarantineLease ended = std::move(lease);
  TANDEM_CHECK(ended.empty() || ended.pool_ == this);
  for (const BlockId id : ended.blocks_) Free(id);
}

void BlockPool::MarkReady(const KvLease& lease, size_t i) {
  TANDEM_CHECK(lease.pool_ == this);
  states_.Become(lease.at(i), BlockState::kReady);
}

void BlockPool::MarkIndexed(const KvLease& lease, size_t i, const PrefixLink& link) {
  TANDEM_CHECK(lease.pool_ == this);
  Block& block = Get(lease.at(i));
  TANDEM_CHECK(states_.at(lease.at(i)) == BlockState::kReady && !block.link.has_value());
  block.link = link;
}

KvLease BlockPool::Pin(BlockId id) {
  Block& block = Get(id);
  TANDEM_CHECK(block.link.has_value());
  if (states_.at(id) == BlockState::kCached) {
    policy_->Remove(id);
    states_.Become(id, BlockState::kReady);
    block.references = 1;
  } else {
    AddReference(id);
  }
  return KvLease(this, {id});
}

uint32_t BlockPool::references(BlockId block) const { return Get(block).references; }
bool BlockPool::indexed(BlockId block) const { return Get(block).link.has_value(); }
uint32_t BlockPool::generation(BlockId block) const { return Get(block).generation; }

BlockPool::Block& BlockPool::Get(BlockId block) {
  TANDEM_CHECK(block.value() < blocks_.size());
  return blocks_[block.value()];
}

const BlockPool::Block& BlockPool::Get(BlockId block) const {
  TANDEM_CHECK(block.value() < blocks_.size());
  return blocks_[block.value()];
}

void BlockPool::Free(BlockId id) {
  states_.Become(id, BlockState::kFree);
  Block& block = Get(id);
  block.link.reset();
  ++block.generation;
  free_.Add(id);
}

void BlockPool::AddReference(BlockId id) {
  Block& block = Get(id);
  TANDEM_CHECK(block.references > 0);
  ++block.references;
}

void BlockPool::DropReference(BlockId id) {
  Block& block = Get(id);
  TANDEM_CHECK(block.references > 0);
  if (--block.references > 0) return;
  if (block.link.has_value()) {
    states_.Become(id, BlockState::kCached);
    policy_->Add(id, *block.link);
  } else {
    Free(id);
  }
}

KvLease BlockPool::FinishLanding(std::vector<BlockId> ids) {
  for (const BlockId id : ids) {
    states_.Become(id, BlockState::kReady);
    Get(id).references = 1;
  }
  return KvLease(this, std::move(ids));
}

QuarantineLease BlockPool::StartQuarantine(std::vector<BlockId> ids) {
  for (const BlockId id : ids) states_.Become(id, BlockState::kQuarantined);
  return QuarantineLease(this, std::move(ids));
}

absl::StatusOr<std::vector<BlockId>> BlockPool::TakeFree(uint32_t n) {
  if (n > available()) {
    return absl::ResourceExhaustedError(
        absl::StrCat(n, " KV blocks wanted, ", available(), " of ", num_blocks(), " available"));
  }
  if (free_.size() < n) {
    const uint32_t room = std::min(n + num_blocks() / kEvictedAhead, available());
    while (free_.size() < room) EvictOne();
  }
  return free_.Take(n);
}

void BlockPool::EvictOne() {
  const BlockId victim = policy_->Victim();
  TANDEM_CHECK(state(victim) == BlockState::kCached);
  policy_->Remove(victim);
  const PrefixLink link = *Get(victim).link;
  Free(victim);
  on_evicted_(victim, link);
}

void BlockPool::CheckConserved() const {
  std::array<uint32_t, kNumBlockStates> recount{};
  for (uint32_t i = 0; i < num_blocks(); ++i) {
    const BlockState state = states_.at(BlockId(i));
    const Block& block = blocks_[i];
    ++recount[static_cast<size_t>(state)];
    const bool held = state == BlockState::kFilling || state == BlockState::kReady;
    TANDEM_CHECK(held == (block.references > 0));
    const bool may_be_indexed = state == BlockState::kReady || state == BlockState::kCached;
    TANDEM_CHECK(may_be_indexed || !block.link.has_value());
    TANDEM_CHECK(state != BlockState::kCached || block.link.has_value());
  }
  for (size_t s = 0; s < kNumBlockStates; ++s) {
    TANDEM_CHECK(recount[s] == count(static_cast<BlockState>(s)));
  }
  TANDEM_CHECK(free_.size() == count(BlockState::kFree));
}

}  // namespace tandem
