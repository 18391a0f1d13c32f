#include "common/kv/free_runs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <set>

#include "common/kv/kv_lease.h"

namespace tandem {
namespace {

using testing::ElementsAre;

std::vector<BlockId> Ids(std::initializer_list<uint32_t> values) {
  std::vector<BlockId> ids;
  for (const uint32_t value : values) ids.push_back(BlockId(value));
  return ids;
}

// Free ids: exactly `ids` of [0, total).
FreeRuns Only(uint32_t total, std::initializer_list<uint32_t> ids) {
  FreeRuns runs(total);
  runs.Take(total);
  for (const uint32_t id : ids) runs.Add(BlockId(id));
  return runs;
}

TEST(FreeRunsTest, TakesOneRunWhenOneIsLongEnough) {
  FreeRuns runs = Only(20, {0, 1, 5, 6, 7, 8, 12, 13, 14});
  EXPECT_EQ(runs.Take(3), Ids({12, 13, 14}));
}

TEST(FreeRunsTest, TakesTheSmallestRunThatFits) {
  FreeRuns runs = Only(20, {0, 1, 2, 3, 4, 8, 10, 11, 12});
  EXPECT_EQ(runs.Take(1), Ids({8}));
  EXPECT_EQ(runs.Take(2), Ids({10, 11}));
  EXPECT_EQ(runs.Take(4), Ids({0, 1, 2, 3}));
}

TEST(FreeRunsTest, JoinsTheLongestRunsWhenNoneIsLongEnough) {
  FreeRuns runs = Only(20, {0, 1, 5, 6, 7, 10, 15, 16, 17});
  EXPECT_THAT(RunLengths(runs.Take(8)), ElementsAre(3, 3, 2));
  EXPECT_EQ(runs.Take(1), Ids({10}));
}

TEST(FreeRunsTest, AddedNeighboursBecomeOneRun) {
  FreeRuns runs = Only(10, {3, 5, 4, 6});
  EXPECT_EQ(runs.Take(4), Ids({3, 4, 5, 6}));
}

TEST(FreeRunsTest, TakingNothingOrFromNothingIsHarmless) {
  FreeRuns none(0);
  EXPECT_TRUE(none.Take(0).empty());
  EXPECT_DEATH(none.Take(1), "CHECK failed");
}

TEST(FreeRunsTest, AddingAFreeIdDies) {
  FreeRuns runs = Only(10, {3, 4, 5});
  EXPECT_DEATH(runs.Add(BlockId(4)), "CHECK failed");
  EXPECT_DEATH(runs.Add(BlockId(3)), "CHECK failed");
}

TEST(FreeRunsTest, AgreesWithAPlainSet) {
  constexpr uint32_t kTotal = 64;
  for (uint32_t seed = 0; seed < 50; ++seed) {
    std::mt19937 random(seed);
    FreeRuns runs(kTotal);
    std::set<uint32_t> free;
    std::vector<uint32_t> taken;
    for (uint32_t i = 0; i < kTotal; ++i) free.insert(i);
    for (int step = 0; step < 400; ++step) {
      if (random() % 2 == 0 && !free.empty()) {
        const auto n = static_cast<uint32_t>(1 + random() % std::min<size_t>(free.size(), 12));
        // The longest run of the plain set decides how the ids may be cut.
        uint32_t longest = 0, length = 0, previous = kTotal;
        for (const uint32_t id : free) {
          length = id == previous + 1 ? length + 1 : 1;
          longest = std::max(longest, length);
          previous = id;
        }
        const std::vector<BlockId> ids = runs.Take(n);
        ASSERT_EQ(ids.size(), n);
        if (longest >= n) {
          ASSERT_THAT(RunLengths(ids), ElementsAre(n));
        }
        for (const BlockId id : ids) {
          ASSERT_EQ(free.erase(id.value()), 1u);
          taken.push_back(id.value());
        }
      } else if (!taken.empty()) {
        std::swap(taken[random() % taken.size()], taken.back());
        runs.Add(BlockId(taken.back()));
        free.insert(taken.back());
        taken.pop_back();
      }
      ASSERT_EQ(runs.size(), free.size());
    }
  }
}

}  // namespace
}  // namespace tandem
