#include "common/kv/kv_lease.h"

#include <utility>

#include "common/base/check.h"
#include "common/kv/block_pool.h"

namespace tandem {

KvLease::KvLease(KvLease&& other) noexcept
    : pool_(std::exchange(other.pool_, nullptr)), blocks_(std::exchange(other.blocks_, {})) {}

KvLease& KvLease::operator=(KvLease&& other) noexcept {
  if (this == &other) return *this;
  Clear();
  pool_ = std::exchange(other.pool_, nullptr);
  blocks_ = std::exchange(other.blocks_, {});
  return *this;
}

BlockId KvLease::at(size_t i) const {
  TANDEM_CHECK(i < blocks_.size());
  return blocks_[i];
}

void KvLease::Append(KvLease&& other) {
  TANDEM_CHECK(this != &other);
  if (other.empty()) return;
  TANDEM_CHECK(empty() || pool_ == other.pool_);
  pool_ = other.pool_;
  const std::vector<BlockId> added = std::exchange(other.blocks_, {});
  blocks_.insert(blocks_.end(), added.begin(), added.end());
}

KvLease KvLease::TakeFront(size_t n) {
  TANDEM_CHECK(n <= size());
  KvLease taken(pool_, {blocks_.begin(), blocks_.begin() + n});
  blocks_.erase(blocks_.begin(), blocks_.begin() + n);
  return taken;
}

KvLease KvLease::TakeBack(size_t n) {
  TANDEM_CHECK(n <= size());
  KvLease taken(pool_, {blocks_.end() - n, blocks_.end()});
  blocks_.erase(blocks_.end() - n, blocks_.end());
  return taken;
}

void KvLease::Truncate(size_t n) {
  TANDEM_CHECK(n <= size());
  // From the end, so that the start of a prefix is cached last and evicted last.
  while (blocks_.size() > n) {
    const BlockId last = blocks_.back();
    blocks_.pop_back();
    pool_->DropReference(last);
  }
}

void KvLease::Clear() { Truncate(0); }

KvLease KvLease::Share(size_t first, size_t n) const {
  TANDEM_CHECK(first <= size() && n <= size() - first);
  std::vector<BlockId> shared(blocks_.begin() + first, blocks_.begin() + first + n);
  for (const BlockId id : shared) pool_->AddReference(id);
  return KvLease(pool_, std::move(shared));
}

KvLease KvLease::Replace(size_t i, KvLease&& replacement) {
  TANDEM_CHECK(i < size());
  TANDEM_CHECK(replacement.size() == 1 && replacement.pool_ == pool_);
  std::swap(blocks_[i], replacement.blocks_[0]);
  return std::move(replacement);
}

QuarantineLease::QuarantineLease(QuarantineLease&& other) noexcept
    : pool_(std::exchange(other.pool_, nullptr)), blocks_(std::exchange(other.blocks_, {})) {}

QuarantineLease& QuarantineLease::operator=(QuarantineLease&& other) noexcept {
  if (this == &other) return *this;
  pool_ = std::exchange(other.pool_, nullptr);
  blocks_ = std::exchange(other.blocks_, {});
  return *this;
}

LandingLease::LandingLease(BlockPool* pool, std::vector<BlockId> blocks)
    : pool_(pool),
      blocks_(std::move(blocks)),
      committed_(blocks_.size(), false),
      uncommitted_(blocks_.size()) {}

LandingLease::LandingLease(LandingLease&& other) noexcept
    : pool_(std::exchange(other.pool_, nullptr)),
      blocks_(std::exchange(other.blocks_, {})),
      committed_(std::exchange(other.committed_, {})),
      uncommitted_(std::exchange(other.uncommitted_, 0)) {}

LandingLease& LandingLease::operator=(LandingLease&& other) noexcept {
  if (this == &other) return *this;
  TANDEM_CHECK_MSG(uncommitted_ == 0, "LANDING blocks overwritten without quarantine");
  pool_ = std::exchange(other.pool_, nullptr);
  blocks_ = std::exchange(other.blocks_, {});
  committed_ = std::exchange(other.committed_, {});
  uncommitted_ = std::exchange(other.uncommitted_, 0);
  return *this;
}

LandingLease::~LandingLease() {
  TANDEM_CHECK_MSG(uncommitted_ == 0, "LANDING blocks dropped without quarantine");
}

KvLease LandingLease::Commit(size_t first, size_t n) {
  TANDEM_CHECK(first <= size() && n <= size() - first);
  for (size_t i = first; i < first + n; ++i) {
    TANDEM_CHECK_MSG(!committed_[i], "a landing block is committed twice");
    committed_[i] = true;
  }
  uncommitted_ -= n;
  if (n == 0) return {};
  return pool_->FinishLanding({blocks_.begin() + first, blocks_.begin() + first + n});
}

QuarantineLease LandingLease::Quarantine() && {
  std::vector<BlockId> rest;
  for (size_t i = 0; i < blocks_.size(); ++i) {
    if (!committed_[i]) rest.push_back(blocks_[i]);
  }
  uncommitted_ = 0;
  blocks_.clear();
  committed_.clear();
  BlockPool* const pool = std::exchange(pool_, nullptr);
  if (rest.empty()) return {};
  return pool->StartQuarantine(std::move(rest));
}

std::vector<uint32_t> RunLengths(absl::Span<const BlockId> blocks) {
  std::vector<uint32_t> lengths;
  for (size_t i = 0; i < blocks.size(); ++i) {
    const bool continues = i > 0 && blocks[i].value() == blocks[i - 1].value() + 1;
    if (continues) {
      ++lengths.back();
    } else {
      lengths.push_back(1);
    }
  }
  return lengths;
}

}  // namespace tandem
