#include "common/kv/lru_eviction.h"

#include <gtest/gtest.h>

namespace tandem {
namespace {

BlockHash Name(uint64_t n) { return {.high = 0, .low = n}; }
PrefixLink Link(uint64_t name, uint64_t parent) { return {Name(name), Name(parent)}; }
constexpr uint64_t kRoot = 1000;

BlockId Evict(LruEviction& lru) {
  const BlockId victim = lru.Victim();
  lru.Remove(victim);
  return victim;
}

TEST(LruEvictionTest, TakesTheOneThatHasBeenCachedLongest) {
  LruEviction lru;
  for (uint32_t i = 1; i <= 3; ++i) lru.Add(BlockId(i), Link(i, kRoot));
  lru.Remove(BlockId(1));
  lru.Add(BlockId(1), Link(1, kRoot));  // used again
  EXPECT_EQ(Evict(lru), BlockId(2));
  EXPECT_EQ(Evict(lru), BlockId(3));
  EXPECT_EQ(Evict(lru), BlockId(1));
}

TEST(LruEvictionTest, TakesLeavesBeforeParentsWhateverTheirAge) {
  LruEviction lru;
  lru.Add(BlockId(1), Link(1, kRoot));
  lru.Add(BlockId(2), Link(2, 1));
  lru.Add(BlockId(3), Link(3, 2));
  lru.Add(BlockId(4), Link(4, 1));
  EXPECT_EQ(Evict(lru), BlockId(3));
  EXPECT_EQ(Evict(lru), BlockId(2));
  EXPECT_EQ(Evict(lru), BlockId(4));
  EXPECT_EQ(Evict(lru), BlockId(1));
}

TEST(LruEvictionTest, AChildThatIsInUseDoesNotHoldItsParent) {
  LruEviction lru;
  lru.Add(BlockId(1), Link(1, kRoot));
  lru.Add(BlockId(2), Link(2, 1));
  lru.Remove(BlockId(2));
  EXPECT_EQ(Evict(lru), BlockId(1));
}

TEST(LruEvictionTest, AParentThatIsCachedAfterItsChildWaitsForIt) {
  LruEviction lru;
  lru.Add(BlockId(2), Link(2, 1));
  lru.Add(BlockId(3), Link(3, kRoot));
  lru.Add(BlockId(1), Link(1, kRoot));
  EXPECT_EQ(Evict(lru), BlockId(2));
  EXPECT_EQ(Evict(lru), BlockId(3));
  EXPECT_EQ(Evict(lru), BlockId(1));
  EXPECT_DEATH(lru.Victim(), "CHECK failed");
}

TEST(LruEvictionTest, AParentWaitsForChildrenUsedAfterIt) {
  LruEviction lru;
  lru.Add(BlockId(2), Link(2, 1));
  lru.Add(BlockId(3), Link(3, 1));
  lru.Add(BlockId(1), Link(1, kRoot));
  lru.Remove(BlockId(2));
  lru.Add(BlockId(2), Link(2, 1));
  EXPECT_EQ(Evict(lru), BlockId(3));
  EXPECT_EQ(Evict(lru), BlockId(2));
  EXPECT_EQ(Evict(lru), BlockId(1));
}

}  // namespace
}  // namespace tandem
