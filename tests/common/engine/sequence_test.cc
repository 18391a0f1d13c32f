#include "common/engine/sequence.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <utility>

#include "common/kv/block_size.h"

namespace tandem {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;

constexpr HashSecret kSecret = {3};

std::vector<TokenId> Counting(size_t n, TokenId first = 0) {
  std::vector<TokenId> tokens(n);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

PrefixChain EmptyChain() { return PrefixChain(kSecret, HashRoot(kSecret, "", "model", "profile")); }

TEST(SequenceTokensTest, KeepsPromptAndOutputsApart) {
  SequenceTokens tokens(EmptyChain(), Counting(3), Counting(2, 3));
  tokens.AppendOutput(5);
  EXPECT_THAT(tokens.prompt(), ElementsAre(0, 1, 2));
  EXPECT_THAT(tokens.outputs(), ElementsAre(3, 4, 5));
  EXPECT_THAT(tokens.all(), ElementsAreArray(Counting(6)));
}

TEST(SequenceTokensTest, HashesTheSameWhetherTokensWerePromptOrOutput) {
  const SequenceTokens prompt(EmptyChain(), Counting(32));
  SequenceTokens resumed(EmptyChain(), Counting(10), Counting(20, 10));
  for (TokenId token = 30; token < 32; ++token) resumed.AppendOutput(token);
  EXPECT_THAT(resumed.chain().hashes(), ElementsAreArray(prompt.chain().hashes()));
}

TEST(SequenceTokensTest, EmptyPromptDies) {
  EXPECT_DEATH(SequenceTokens(EmptyChain(), {}), "CHECK failed");
}

class SequenceTest : public testing::Test {
 protected:
  ~SequenceTest() override { cache_.pool().CheckConserved(); }

  Sequence NewSequence(size_t prompt) {
    return Sequence(&cache_, SequenceTokens(EmptyChain(), Counting(prompt)));
  }
  // The owner computes up to `end`.
  KvLease Compute(Sequence& sequence, uint32_t end) {
    EXPECT_TRUE(sequence.Grow(end).ok());
    sequence.Schedule(end);
    return sequence.Computed(end);
  }
  KvLease Committed(uint32_t n) {
    LandingLease landing = cache_.AcquireLanding(n).value();
    return landing.Commit(0, n);
  }

  KvCache cache_{16};
};

TEST_F(SequenceTest, OwnComputationMovesLandedAndPublishesFullBlocks) {
  Sequence sequence = NewSequence(40);
  Compute(sequence, 20);
  EXPECT_EQ(sequence.landed(), 20u);
  EXPECT_EQ(cache_.stats().published_blocks, 1u);
  Compute(sequence, 40);
  EXPECT_EQ(cache_.stats().published_blocks, 2u);
  EXPECT_EQ(sequence.blocks().size(), 3u);
  EXPECT_EQ(cache_.pool().count(BlockState::kFilling), 1u);
}

TEST_F(SequenceTest, OutputsFillBlocksThatLaterSequencesHit) {
  Sequence sequence = NewSequence(30);
  Compute(sequence, 30);
  for (TokenId token = 30; token < 34; ++token) {
    sequence.AppendOutput(token);
    Compute(sequence, sequence.tokens().size());
  }
  Sequence next = NewSequence(50);
  EXPECT_EQ(next.MatchCached(3), 32u);
  EXPECT_EQ(next.landed(), 32u);
}

TEST_F(SequenceTest, MatchCachedStopsAtTheLimit) {
  Sequence first = NewSequence(48);
  Compute(first, 48);
  Sequence second = NewSequence(48);
  EXPECT_EQ(second.MatchCached(SharableBlocks(48)), 32u);
}

TEST_F(SequenceTest, ChunksLandInOrder) {
  Sequence sequence = NewSequence(70);
  EXPECT_EQ(sequence.Land(0, Committed(2)), 32u);
  EXPECT_EQ(sequence.Land(2, Committed(2)), 32u);
  EXPECT_EQ(sequence.landed(), 64u);
  EXPECT_EQ(sequence.scheduled(), 64u);
  EXPECT_EQ(cache_.stats().published_blocks, 4u);
}

TEST_F(SequenceTest, AChunkBehindAGapWaitsForIt) {
  Sequence sequence = NewSequence(70);
  EXPECT_EQ(sequence.Land(2, Committed(2)), 0u);
  EXPECT_EQ(sequence.landed(), 0u);
  EXPECT_EQ(sequence.Land(0, Committed(2)), 64u);
}

TEST_F(SequenceTest, BlocksThatAnEarlierAttemptBroughtAreGivenBack) {
  Sequence sequence = NewSequence(70);
  sequence.Land(0, Committed(1));
  sequence.Land(2, Committed(1));
  EXPECT_EQ(sequence.Land(1, Committed(3)), 48u);
  EXPECT_EQ(sequence.landed(), 64u);
  EXPECT_EQ(sequence.blocks().size(), 4u);
  EXPECT_EQ(cache_.pool().count(BlockState::kReady), 4u);
  EXPECT_EQ(sequence.Land(3, Committed(1)), 0u);
  EXPECT_EQ(cache_.pool().count(BlockState::kReady), 4u);
}

TEST_F(SequenceTest, TakingOverKeepsWhatLandedAndDropsWhatWaits) {
  Sequence sequence = NewSequence(70);
  sequence.Land(0, Committed(1));
  sequence.Land(2, Committed(1));
  ASSERT_TRUE(sequence.Grow(70).ok());
  EXPECT_EQ(sequence.landed(), 16u);
  EXPECT_EQ(cache_.pool().count(BlockState::kReady), 1u);
  EXPECT_EQ(cache_.pool().count(BlockState::kFilling), 4u);
  EXPECT_DEATH(sequence.Land(1, Committed(1)), "CHECK failed");
}

TEST_F(SequenceTest, GrowWithoutRoomChangesNothing) {
  Sequence sequence = NewSequence(300);
  sequence.Land(0, Committed(1));
  EXPECT_EQ(sequence.Grow(300).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(sequence.blocks().size(), 1u);
  EXPECT_EQ(sequence.landed(), 16u);
}

TEST_F(SequenceTest, TwoStepsMayBeInFlight) {
  Sequence sequence = NewSequence(64);
  ASSERT_TRUE(sequence.Grow(64).ok());
  sequence.Schedule(32);
  sequence.Schedule(64);
  EXPECT_EQ(sequence.scheduled(), 64u);
  EXPECT_EQ(sequence.landed(), 0u);
  EXPECT_TRUE(sequence.Computed(32).empty());
  EXPECT_EQ(sequence.landed(), 32u);
  sequence.Unschedule();
  EXPECT_EQ(sequence.scheduled(), 32u);
}

TEST_F(SequenceTest, SchedulingBeyondTheTableOrTheTokensDies) {
  Sequence sequence = NewSequence(20);
  ASSERT_TRUE(sequence.Grow(16).ok());
  EXPECT_DEATH(sequence.Schedule(17), "CHECK failed");
  ASSERT_TRUE(sequence.Grow(20).ok());
  EXPECT_DEATH(sequence.Schedule(21), "CHECK failed");
  EXPECT_DEATH(sequence.Computed(1), "CHECK failed");
}

TEST_F(SequenceTest, ComputingWhatAnotherHasPublishedTakesItsBlock) {
  Sequence first = NewSequence(16);
  Sequence second = NewSequence(16);
  EXPECT_TRUE(Compute(first, 16).empty());
  const KvLease displaced = Compute(second, 16);
  EXPECT_EQ(displaced.size(), 1u);
  EXPECT_EQ(second.blocks().at(0), first.blocks().at(0));
  EXPECT_EQ(second.landed(), 16u);
}

TEST_F(SequenceTest, APreemptedSequenceFindsItsFullBlocksAgain) {
  Sequence sequence = NewSequence(40);
  Compute(sequence, 40);
  sequence.Preempt().Clear();
  EXPECT_EQ(sequence.landed(), 0u);
  EXPECT_EQ(sequence.scheduled(), 0u);
  EXPECT_EQ(cache_.pool().available(), 16u);
  EXPECT_EQ(sequence.MatchCached(SharableBlocks(40)), 32u);
  Compute(sequence, 40);
  EXPECT_EQ(sequence.landed(), 40u);
}

TEST_F(SequenceTest, BlocksInFlightOutliveTheirSequence) {
  KvLease in_flight;
  {
    Sequence sequence = NewSequence(20);
    ASSERT_TRUE(sequence.Grow(20).ok());
    sequence.Schedule(20);
    in_flight = sequence.blocks().ShareAll();
  }
  EXPECT_EQ(cache_.pool().count(BlockState::kFilling), 2u);
  in_flight.Clear();
  EXPECT_EQ(cache_.pool().count(BlockState::kFree), 16u);
}

}  // namespace
}  // namespace tandem
