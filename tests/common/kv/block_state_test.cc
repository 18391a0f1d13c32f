#include "common/kv/block_state.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <vector>

namespace tandem {
namespace {

using enum BlockState;

constexpr BlockState kAll[] = {kFree, kLanding, kFilling, kReady, kCached, kQuarantined};

// The allowed changes, written a second time on purpose.
const std::set<std::pair<BlockState, BlockState>> kAllowed = {
    {kFree, kLanding},  {kFree, kFilling}, {kLanding, kReady},    {kLanding, kQuarantined},
    {kFilling, kReady}, {kFilling, kFree}, {kReady, kCached},     {kReady, kFree},
    {kCached, kReady},  {kCached, kFree},  {kQuarantined, kFree},
};

// How a fresh block gets into each state.
const std::map<BlockState, std::vector<BlockState>> kPaths = {
    {kFree, {}},
    {kLanding, {kLanding}},
    {kFilling, {kFilling}},
    {kReady, {kFilling, kReady}},
    {kCached, {kFilling, kReady, kCached}},
    {kQuarantined, {kLanding, kQuarantined}},
};

class BlockStateCellTest : public testing::TestWithParam<std::tuple<BlockState, BlockState>> {};

TEST_P(BlockStateCellTest, IsAllowedOrDies) {
  const auto [from, to] = GetParam();
  BlockStates states(3);
  const BlockId block(1);
  for (const BlockState step : kPaths.at(from)) states.Become(block, step);
  ASSERT_EQ(states.at(block), from);
  EXPECT_EQ(MayBecome(from, to), kAllowed.contains({from, to}));
  if (!kAllowed.contains({from, to})) {
    EXPECT_DEATH(states.Become(block, to), "block 1 may not go from");
    return;
  }
  states.Become(block, to);
  EXPECT_EQ(states.at(block), to);
  for (const BlockState state : kAll) {
    EXPECT_EQ(states.count(state), (state == to ? 1u : 0u) + (state == kFree ? 2u : 0u));
  }
}

INSTANTIATE_TEST_SUITE_P(EveryCell, BlockStateCellTest,
                         testing::Combine(testing::ValuesIn(kAll), testing::ValuesIn(kAll)),
                         [](const auto& info) {
                           return std::string(BlockStateName(std::get<0>(info.param))) + "_to_" +
                                  BlockStateName(std::get<1>(info.param));
                         });

TEST(BlockStatesTest, RefusesABlockThatIsNotThere) {
  BlockStates states(3);
  EXPECT_DEATH(states.at(BlockId(3)), "CHECK failed");
}

}  // namespace
}  // namespace tandem
