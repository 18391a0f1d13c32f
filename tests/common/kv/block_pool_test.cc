#include "common/kv/block_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <random>
#include <utility>

#include "common/kv/lru_eviction.h"

namespace tandem {
namespace {

using testing::ElementsAre;
using enum BlockState;

class BlockPoolTest : public testing::Test {
 protected:
  ~BlockPoolTest() override { pool_.CheckConserved(); }

  KvLease Acquire(uint32_t n) {
    auto lease = pool_.Acquire(n);
    EXPECT_TRUE(lease.ok()) << lease.status();
    return std::move(lease).value();
  }
  LandingLease AcquireLanding(uint32_t n) {
    auto lease = pool_.AcquireLanding(n);
    EXPECT_TRUE(lease.ok()) << lease.status();
    return std::move(lease).value();
  }
  // One READY, indexed block with this name.
  KvLease Indexed(uint64_t name) {
    KvLease lease = Acquire(1);
    pool_.MarkReady(lease, 0);
    pool_.MarkIndexed(lease, 0, {.hash = {0, name}, .parent = {}});
    return lease;
  }

  std::vector<BlockId> evicted_;
  BlockPool pool_{8, std::make_unique<LruEviction>(),
                  [this](BlockId block, const PrefixLink&) { evicted_.push_back(block); }};
};

TEST_F(BlockPoolTest, AcquireGivesFillingBlocksInOneRun) {
  const KvLease lease = Acquire(5);
  EXPECT_THAT(RunLengths(lease.ids()), ElementsAre(5));
  EXPECT_EQ(pool_.count(kFilling), 5u);
  EXPECT_EQ(pool_.available(), 3u);
}

TEST_F(BlockPoolTest, AcquireWhenShortLeavesPoolUnchanged) {
  const KvLease held = Acquire(4);
  { const KvLease cached = Indexed(1); }
  EXPECT_EQ(pool_.Acquire(5).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(pool_.AcquireLanding(5).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(pool_.count(kFree), 3u);
  EXPECT_EQ(pool_.count(kCached), 1u);
  EXPECT_THAT(evicted_, ElementsAre());
}

TEST_F(BlockPoolTest, AcquireTakesFreeBlocksBeforeItEvicts) {
  KvLease one = Indexed(1);
  const BlockId first = one.at(0);
  one.Clear();
  const KvLease seven = Acquire(7);
  EXPECT_THAT(evicted_, ElementsAre());
  const KvLease last = Acquire(1);
  EXPECT_THAT(evicted_, ElementsAre(first));
  EXPECT_EQ(last.at(0), first);
  EXPECT_FALSE(pool_.indexed(first));
}

TEST_F(BlockPoolTest, FillingBlockIsFreedWithItsLease) {
  { const KvLease lease = Acquire(2); }
  EXPECT_EQ(pool_.count(kFree), 8u);
}

TEST_F(BlockPoolTest, ReadyBlockIsFreedWhenNotIndexed) {
  KvLease lease = Acquire(1);
  pool_.MarkReady(lease, 0);
  EXPECT_EQ(pool_.count(kReady), 1u);
  lease.Clear();
  EXPECT_EQ(pool_.count(kFree), 8u);
}

TEST_F(BlockPoolTest, ReadyBlockIsCachedWhenIndexed) {
  { const KvLease lease = Indexed(1); }
  EXPECT_EQ(pool_.count(kCached), 1u);
  EXPECT_EQ(pool_.available(), 8u);
}

TEST_F(BlockPoolTest, PinTakesACachedBlockAndSharesAReadyOne) {
  KvLease lease = Indexed(1);
  const BlockId block = lease.at(0);
  lease.Clear();
  lease = pool_.Pin(block);
  EXPECT_EQ(pool_.state(block), kReady);
  const KvLease second = pool_.Pin(block);
  EXPECT_EQ(pool_.references(block), 2u);
  lease.Clear();
  EXPECT_EQ(pool_.state(block), kReady);
}

TEST_F(BlockPoolTest, PinOfABlockThatIsNotIndexedDies) {
  const KvLease lease = Acquire(1);
  EXPECT_DEATH(pool_.Pin(lease.at(0)), "CHECK failed");
}

TEST_F(BlockPoolTest, SharedBlockIsFreedWithTheLastReference) {
  KvLease lease = Acquire(3);
  KvLease shared = lease.Share(1, 1);
  const BlockId block = shared.at(0);
  lease.Clear();
  EXPECT_EQ(pool_.count(kFilling), 1u);
  EXPECT_EQ(pool_.state(block), kFilling);
  shared.Clear();
  EXPECT_EQ(pool_.count(kFree), 8u);
}

TEST_F(BlockPoolTest, GenerationChangesWheneverABlockIsFreed) {
  KvLease lease = Acquire(1);
  const BlockId block = lease.at(0);
  const uint32_t filling = pool_.generation(block);
  lease.Clear();
  const uint32_t freed = pool_.generation(block);
  EXPECT_NE(freed, filling);
  lease = Acquire(8);
  EXPECT_EQ(pool_.generation(block), freed);
}

TEST_F(BlockPoolTest, LeaseIsCutAndJoinedInOrder) {
  KvLease lease = Acquire(6);
  const std::vector<BlockId> ids(lease.ids().begin(), lease.ids().end());
  KvLease front = lease.TakeFront(2);
  KvLease back = lease.TakeBack(1);
  EXPECT_THAT(front.ids(), ElementsAre(ids[0], ids[1]));
  EXPECT_THAT(lease.ids(), ElementsAre(ids[2], ids[3], ids[4]));
  EXPECT_THAT(back.ids(), ElementsAre(ids[5]));
  front.Append(std::move(back));
  EXPECT_THAT(front.ids(), ElementsAre(ids[0], ids[1], ids[5]));
  lease.Truncate(1);
  EXPECT_EQ(pool_.count(kFilling), 4u);
  EXPECT_EQ(pool_.state(ids[4]), kFree);
}

TEST_F(BlockPoolTest, MovedFromLeaseIsEmptyAndUsable) {
  KvLease lease = Acquire(2);
  KvLease other = std::move(lease);
  EXPECT_TRUE(lease.empty());  // NOLINT(bugprone-use-after-move)
  lease.Append(std::move(other));
  EXPECT_EQ(lease.size(), 2u);
  lease = Acquire(1);
  EXPECT_EQ(pool_.count(kFilling), 1u);
}

TEST_F(BlockPoolTest, ReplaceSwapsOnePlace) {
  KvLease lease = Acquire(3);
  KvLease other = Acquire(1);
  const BlockId was = lease.at(1);
  const BlockId is = other.at(0);
  const KvLease displaced = lease.Replace(1, std::move(other));
  EXPECT_EQ(lease.at(1), is);
  EXPECT_THAT(displaced.ids(), ElementsAre(was));
  EXPECT_EQ(pool_.count(kFilling), 4u);
}

TEST_F(BlockPoolTest, LeaseAccessOutsideDies) {
  KvLease lease = Acquire(2);
  EXPECT_DEATH(lease.at(2), "CHECK failed");
  EXPECT_DEATH(lease.TakeFront(3), "CHECK failed");
  EXPECT_DEATH(lease.Truncate(3), "CHECK failed");
  EXPECT_DEATH(lease.Share(1, SIZE_MAX), "CHECK failed");
}

TEST_F(BlockPoolTest, CommittedLandingBlocksAreReady) {
  LandingLease landing = AcquireLanding(4);
  EXPECT_EQ(pool_.count(kLanding), 4u);
  KvLease later = landing.Commit(2, 2);
  const KvLease first = landing.Commit(0, 2);
  EXPECT_EQ(landing.uncommitted(), 0u);
  EXPECT_EQ(first.at(0), landing.ids()[0]);
  EXPECT_EQ(pool_.count(kReady), 4u);
  later.Clear();
  EXPECT_EQ(pool_.count(kFree), 6u);
}

TEST_F(BlockPoolTest, FullyCommittedGrantNeedsNoQuarantine) {
  LandingLease landing = AcquireLanding(2);
  const KvLease all = landing.Commit(0, 2);
  EXPECT_TRUE(std::move(landing).Quarantine().empty());
}

TEST_F(BlockPoolTest, UncommittedLandingBlocksWaitInQuarantine) {
  LandingLease landing = AcquireLanding(4);
  const KvLease committed = landing.Commit(1, 1);
  QuarantineLease quarantine = std::move(landing).Quarantine();
  EXPECT_EQ(quarantine.size(), 3u);
  EXPECT_EQ(pool_.count(kQuarantined), 3u);
  EXPECT_EQ(pool_.available(), 4u);
  pool_.EndQuarantine(std::move(quarantine));
  EXPECT_EQ(pool_.count(kQuarantined), 0u);
  EXPECT_EQ(pool_.count(kFree), 7u);
}

TEST_F(BlockPoolTest, DroppedQuarantineIsNeverFreed) {
  { const QuarantineLease dropped = AcquireLanding(3).Quarantine(); }
  EXPECT_EQ(pool_.count(kQuarantined), 3u);
  EXPECT_FALSE(pool_.Acquire(6).ok());
}

TEST_F(BlockPoolTest, LandingBlocksCannotBeDropped) {
  EXPECT_DEATH({ LandingLease dropped = AcquireLanding(1); }, "dropped without quarantine");
  LandingLease landing = AcquireLanding(1);
  EXPECT_DEATH(landing = LandingLease(), "overwritten without quarantine");
  const KvLease all = landing.Commit(0, 1);
}

TEST_F(BlockPoolTest, CommittingTwiceDies) {
  LandingLease landing = AcquireLanding(2);
  const KvLease all = landing.Commit(0, 2);
  EXPECT_DEATH(landing.Commit(1, 1), "committed twice");
  EXPECT_DEATH(landing.Commit(2, 1), "CHECK failed");
}

TEST_F(BlockPoolTest, MarkingReadyOrIndexedTwiceDies) {
  KvLease lease = Acquire(1);
  EXPECT_DEATH(pool_.MarkIndexed(lease, 0, {}), "CHECK failed");
  pool_.MarkReady(lease, 0);
  EXPECT_DEATH(pool_.MarkReady(lease, 0), "may not go from READY to READY");
  pool_.MarkIndexed(lease, 0, {});
  EXPECT_DEATH(pool_.MarkIndexed(lease, 0, {}), "CHECK failed");
}

TEST_F(BlockPoolTest, LeasesOfTwoPoolsDoNotMix) {
  BlockPool other(2, std::make_unique<LruEviction>(), [](BlockId, const PrefixLink&) {});
  KvLease ours = Acquire(1);
  KvLease theirs = other.Acquire(1).value();
  EXPECT_DEATH(ours.Append(std::move(theirs)), "CHECK failed");
  EXPECT_DEATH(pool_.MarkReady(theirs, 0), "CHECK failed");
}

TEST(BlockPoolLifeTest, LeaseThatOutlivesItsPoolDies) {
  EXPECT_DEATH(
      {
        KvLease lease;
        BlockPool pool(2, std::make_unique<LruEviction>(), [](BlockId, const PrefixLink&) {});
        lease = pool.Acquire(1).value();
      },
      "a lease outlives its pool");
}

// A 1,024-block pool that takes 26 turnovers: eight sequences at a time, of 6 to 45 blocks, that
// grow one block after another and stay cached when they end.
class TurnoverTest : public testing::Test {
 protected:
  static constexpr uint32_t kBlocks = 1024;

  // Begins a sequence, ends the oldest. Returns the runs that its first blocks lie in.
  size_t Turn() {
    KvLease begun = pool_.Acquire(6 + random_() % 40).value();
    const size_t runs = RunLengths(begun.ids()).size();
    running_.push_back(std::move(begun));
    for (KvLease& lease : running_) {
      if (random_() % 4 == 0) lease.Append(pool_.Acquire(1).value());
    }
    if (running_.size() > 8) {
      Publish(running_.front());
      running_.pop_front();
    }
    return runs;
  }
  void Publish(const KvLease& lease) {
    PrefixLink link;
    for (size_t i = 0; i < lease.size(); ++i) {
      link = {.hash = {0, ++last_name_}, .parent = link.hash};
      pool_.MarkReady(lease, i);
      pool_.MarkIndexed(lease, i, link);
    }
  }

  BlockPool pool_{kBlocks, std::make_unique<LruEviction>(), [](BlockId, const PrefixLink&) {}};
  std::deque<KvLease> running_;
  std::mt19937 random_{1};
  uint64_t last_name_ = 0;
};

TEST_F(TurnoverTest, BlocksOfASequenceStayNeighbours) {
  for (int i = 0; i < 500; ++i) Turn();
  size_t runs = 0;
  for (int i = 0; i < 500; ++i) runs += Turn();
  EXPECT_LT(runs, 500u * 6);
}

TEST_F(TurnoverTest, NearlyAllOfThePoolStaysInUse) {
  for (int i = 0; i < 500; ++i) Turn();
  uint32_t most_free = 0;
  for (int i = 0; i < 500; ++i) {
    Turn();
    most_free = std::max(most_free, pool_.count(kFree));
  }
  EXPECT_LE(most_free, kBlocks / 32);
}

TEST(RunLengthsTest, CountsConsecutiveIds) {
  EXPECT_THAT(RunLengths({}), ElementsAre());
  EXPECT_THAT(RunLengths({BlockId(3), BlockId(4), BlockId(9), BlockId(8), BlockId(9)}),
              ElementsAre(2, 1, 2));
}

}  // namespace
}  // namespace tandem
