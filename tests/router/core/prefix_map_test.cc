#include "router/core/prefix_map.h"

#include <vector>

#include "gtest/gtest.h"

namespace tandem {
namespace {

std::vector<BlockHash> Chain(uint64_t name, uint64_t length) {
  std::vector<BlockHash> chain;
  for (uint64_t i = 0; i < length; ++i) chain.push_back({name, i});
  return chain;
}

TEST(PrefixMapTest, CountsLeadingBlocksOnly) {
  PrefixMap map(100);
  map.Learn(Chain(1, 5));
  EXPECT_EQ(map.CountLeading(Chain(1, 8)), 5u);
  EXPECT_EQ(map.CountLeading(Chain(1, 3)), 3u);
  EXPECT_EQ(map.CountLeading(Chain(2, 3)), 0u);
  const std::vector<BlockHash> middle = {{1, 2}};
  map.Forget(middle);
  EXPECT_EQ(map.CountLeading(Chain(1, 8)), 2u);
}

TEST(PrefixMapTest, DropsLeastRecentlyUsedAndChainEndsFirst) {
  PrefixMap map(6);
  map.Learn(Chain(1, 4));
  map.Learn(Chain(2, 4));
  EXPECT_EQ(map.size(), 6u);
  EXPECT_EQ(map.CountLeading(Chain(2, 4)), 4u);
  EXPECT_EQ(map.CountLeading(Chain(1, 4)), 2u);
  map.Learn(Chain(1, 2));
  map.Learn(Chain(3, 2));
  EXPECT_EQ(map.CountLeading(Chain(1, 4)), 2u);
  EXPECT_EQ(map.CountLeading(Chain(2, 4)), 2u);
}

TEST(PrefixMapTest, ASmallerCapacityDropsWhatIsBeyondIt) {
  PrefixMap map(6);
  map.Learn(Chain(1, 4));
  map.Learn(Chain(2, 2));
  map.SetCapacity(3);
  EXPECT_EQ(map.size(), 3u);
  EXPECT_EQ(map.CountLeading(Chain(2, 2)), 2u);
  EXPECT_EQ(map.CountLeading(Chain(1, 4)), 1u);
}

TEST(PrefixMapTest, KeepsTheBeginningOfAChainLongerThanItself) {
  PrefixMap map(3);
  map.Learn(Chain(1, 10));
  EXPECT_EQ(map.CountLeading(Chain(1, 10)), 3u);
  map.Clear();
  EXPECT_EQ(map.size(), 0u);
  EXPECT_EQ(map.CountLeading(Chain(1, 10)), 0u);
}

}  // namespace
}  // namespace tandem
