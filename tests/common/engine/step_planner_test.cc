#include "common/engine/step_planner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "common/kv/block_size.h"

namespace tandem {
namespace {

using testing::ElementsAre;

RunnableSequence Runnable(uint64_t key, uint32_t computed, uint32_t total) {
  return {.key = SequenceKey(key), .computed = computed, .total = total, .age_rank = key};
}

RunnableSequence Bulk(uint64_t key, uint32_t computed, uint32_t total) {
  RunnableSequence s = Runnable(key, computed, total);
  s.lane = Lane::kBulk;
  return s;
}

PlannedPart Part(uint64_t key, uint32_t start, uint32_t count, bool sample) {
  return {.key = SequenceKey(key), .start = start, .count = count, .sample = sample};
}

constexpr StepLimits kLimits = {
    .max_batch_tokens = 100, .max_prefill_tokens = 64, .max_sequences = 8};

TEST(PlanStepTest, NothingRunnableGivesAnEmptyPlan) { EXPECT_TRUE(PlanStep({}, kLimits).empty()); }

TEST(PlanStepTest, DecodingSequencesComeFirstThenTailsThenLongWork) {
  EXPECT_THAT(PlanStep({Runnable(1, 0, 40), Runnable(2, 16, 20), Runnable(3, 9, 10)}, kLimits),
              ElementsAre(Part(3, 9, 1, true), Part(2, 16, 4, true), Part(1, 0, 40, true)));
}

TEST(PlanStepTest, WithinAClassTheOldestComesFirst) {
  EXPECT_THAT(PlanStep({Runnable(3, 9, 10), Runnable(1, 20, 21), Runnable(2, 5, 6)}, kLimits),
              ElementsAre(Part(1, 20, 1, true), Part(2, 5, 1, true), Part(3, 9, 1, true)));
}

TEST(PlanStepTest, LongWorkIsBoundedPerStepAndSampledAtItsEnd) {
  EXPECT_THAT(PlanStep({Runnable(1, 0, 100)}, kLimits), ElementsAre(Part(1, 0, 64, false)));
  EXPECT_THAT(PlanStep({Runnable(1, 64, 100)}, kLimits), ElementsAre(Part(1, 64, 36, true)));
}

TEST(PlanStepTest, ACutFallsOnABlockEnd) {
  EXPECT_THAT(PlanStep({Runnable(1, 10, 200)}, kLimits), ElementsAre(Part(1, 10, 54, false)));
}

TEST(PlanStepTest, ACutInsideABlockStillMakesProgress) {
  const StepLimits small = {.max_batch_tokens = 3, .max_prefill_tokens = 3, .max_sequences = 1};
  EXPECT_THAT(PlanStep({Runnable(1, 17, 200)}, small), ElementsAre(Part(1, 17, 3, false)));
}

TEST(PlanStepTest, PrefillIsSharedOldestFirst) {
  EXPECT_THAT(PlanStep({Runnable(1, 0, 40), Runnable(2, 0, 40)}, kLimits),
              ElementsAre(Part(1, 0, 40, true), Part(2, 0, 16, false)));
}

TEST(PlanStepTest, PrefillWorkersSampleNothing) {
  RunnableSequence job = Runnable(1, 0, 32);
  job.samples = false;
  EXPECT_THAT(PlanStep({job}, kLimits), ElementsAre(Part(1, 0, 32, false)));
}

TEST(PlanStepTest, TheOldestIsPlannedWhateverComesBeforeIt) {
  std::vector<RunnableSequence> runnable = {Runnable(1, 0, 1000)};
  for (uint64_t key = 2; key < 300; ++key) runnable.push_back(Runnable(key, 50, 51));
  const auto plan = PlanStep(runnable, kLimits);
  EXPECT_EQ(plan.size(), 8u);
  EXPECT_EQ(plan.back().key, SequenceKey(1));
  EXPECT_GE(plan.back().count, kBlockTokens);
}

TEST(PlanStepTest, ASequenceWithNothingMissingDies) {
  EXPECT_DEATH(PlanStep({Runnable(1, 5, 5)}, kLimits), "CHECK failed");
}

// A step takes 5 ms, and 1 ms more for each token.
StepCostModel FiveAndOneEach() {
  StepCostModel cost;
  for (int i = 0; i < 20; ++i) {
    for (const uint32_t tokens : {1, 2, 4, 8, 64}) {
      cost.Observe(WorkOf(i, tokens), std::chrono::milliseconds(5 + tokens));
    }
  }
  return cost;
}

constexpr StepLimits kTwice = {
    .max_batch_tokens = 100, .max_prefill_tokens = 64, .max_sequences = 8, .max_stretch = 2};

TEST(PlanStepTest, LongWorkIsAsMuchAsFitsIntoTheTimeBesideDecoding) {
  const auto plan = PlanStep({Runnable(1, 9, 10), Runnable(2, 16, 100)}, kTwice, FiveAndOneEach());
  ASSERT_EQ(plan.size(), 2u);
  EXPECT_GE(plan[1].count, 7u);  // 2 x 7 ms, of both decoding, is what 9 tokens take
  EXPECT_LE(plan[1].count, 8u);
}

TEST(PlanStepTest, PromptsInHandCountAsIfTheyDecoded) {
  std::vector<RunnableSequence> runnable = {Runnable(1, 9, 10)};
  for (uint32_t i = 2; i <= 8; ++i) runnable.push_back(Runnable(i, 16, 100));
  const auto plan = PlanStep(runnable, kTwice, FiveAndOneEach());
  const StepWork work = WorkOf(plan);
  EXPECT_GE(work.rows, 19u);  // 2 x 13 ms, of eight decoding, is what 21 tokens take
  EXPECT_LE(work.rows, 21u);
}

TEST(PlanStepTest, TheLengthOfAPromptInHandGivesTheStepNoMoreTime) {
  StepCostModel cost;  // 5 ms, 1 for a row, 1 for 10 positions read
  for (int i = 0; i < 50; ++i) {
    for (const uint32_t start : {0, 20, 100, 200}) {
      for (const uint32_t count : {1, 4, 16}) {
        const StepWork work = WorkOf(start, count);
        cost.Observe(work, std::chrono::milliseconds(5 + work.rows + work.read / 10));
      }
    }
  }
  const auto rows_beside = [&](uint32_t prompt) {
    return WorkOf(PlanStep({Runnable(1, 9, 10), Runnable(2, 0, prompt)}, kTwice, cost)).rows;
  };
  EXPECT_LE(rows_beside(2000), rows_beside(100));
}

TEST(PlanStepTest, BulkPromptsInHandGiveTheStepNoMoreTime) {
  std::vector<RunnableSequence> runnable = {Runnable(1, 9, 10)};
  for (uint32_t i = 2; i <= 8; ++i) {
    runnable.push_back(Runnable(i, 16, 100));
    runnable.back().lane = Lane::kBulk;
  }
  EXPECT_LE(WorkOf(PlanStep(runnable, kTwice, FiveAndOneEach())).rows, 7u);
}

TEST(PlanStepTest, WithoutDecodingOnlyALimitOfTimeBoundsLongWork) {
  const StepCostModel cost = FiveAndOneEach();
  EXPECT_THAT(PlanStep({Runnable(1, 0, 100)}, kTwice, cost), ElementsAre(Part(1, 0, 64, false)));
  StepLimits limits = kTwice;
  limits.max_time = std::chrono::milliseconds(40);
  EXPECT_THAT(PlanStep({Runnable(1, 0, 100)}, limits, cost), ElementsAre(Part(1, 0, 32, false)));
}

TEST(PlanStepTest, TheOldestLongWorkGoesOnHoweverLittleTimeThereIs) {
  StepLimits limits = kTwice;
  limits.max_time = std::chrono::milliseconds(1);
  EXPECT_THAT(PlanStep({Runnable(1, 9, 10), Runnable(2, 16, 100), Runnable(3, 16, 20)}, limits,
                       FiveAndOneEach()),
              ElementsAre(Part(1, 9, 1, true), Part(2, 16, 1, false)));
  RunnableSequence job = Runnable(2, 16, 96);
  job.grain = kBlockTokens;
  EXPECT_THAT(PlanStep({job}, limits, FiveAndOneEach()), ElementsAre(Part(2, 16, 16, false)));
}

// ---- lanes ----

TEST(PlanStepLanesTest, AllInteractiveWorkComesBeforeBulkWork) {
  EXPECT_THAT(PlanStep({Bulk(1, 9, 10), Bulk(2, 16, 20), Bulk(3, 0, 20), Runnable(4, 0, 20),
                        Runnable(5, 16, 20), Runnable(6, 9, 10)},
                       kLimits),
              ElementsAre(Part(6, 9, 1, true), Part(5, 16, 4, true), Part(4, 0, 20, true),
                          Part(1, 9, 1, true), Part(2, 16, 4, true), Part(3, 0, 20, true)));
}

TEST(PlanStepLanesTest, InteractiveWorkTakesTheTokensFirst) {
  EXPECT_THAT(PlanStep({Runnable(1, 16, 48), Bulk(2, 0, 100), Runnable(3, 0, 30)}, kLimits),
              ElementsAre(Part(1, 16, 32, true), Part(3, 0, 30, true), Part(2, 0, 2, false)));
}

// A lone stream's step takes 6 ms, so 12 ms are the limit: 7 tokens, or 6 as the fit leans to the
// dear side.
TEST(PlanStepLanesTest, BulkDecodingJoinsAsFarAsTheInteractiveDecodingsTimeGoes) {
  std::vector<RunnableSequence> runnable = {Runnable(1, 9, 10)};
  for (uint64_t key = 2; key < 40; ++key) runnable.push_back(Bulk(key, 9, 10));
  StepLimits limits = kTwice;
  limits.max_sequences = 64;
  const auto plan = PlanStep(runnable, limits, FiveAndOneEach());
  EXPECT_GE(plan.size(), 6u);
  EXPECT_LE(plan.size(), 7u);
  for (size_t i = 0; i < plan.size(); ++i) EXPECT_EQ(plan[i].key, SequenceKey(i + 1));
}

TEST(PlanStepLanesTest, InteractiveDecodingIsNeverHeldBackForTime) {
  StepLimits limits = kTwice;
  limits.max_time = std::chrono::milliseconds(1);
  EXPECT_THAT(
      PlanStep({Runnable(1, 9, 10), Runnable(2, 9, 10), Bulk(3, 9, 10)}, limits, FiveAndOneEach()),
      ElementsAre(Part(1, 9, 1, true), Part(2, 9, 1, true)));
}

TEST(PlanStepLanesTest, BulkWorkAloneIsBoundedByTokensOnly) {
  StepLimits limits = kTwice;
  limits.max_time = std::chrono::milliseconds(1);
  EXPECT_THAT(PlanStep({Bulk(1, 9, 10), Bulk(2, 9, 10), Bulk(3, 0, 100)}, limits, FiveAndOneEach()),
              ElementsAre(Part(1, 9, 1, true), Part(2, 9, 1, true), Part(3, 0, 64, false)));
}

// 16 interactive tokens take 21 ms; twice that is what 37 tokens take.
TEST(PlanStepLanesTest, BesideAnInteractivePromptBulkWorkStretchesTheStepByAFactorAtMost) {
  const auto plan = PlanStep({Runnable(1, 0, 16), Bulk(2, 0, 100)}, kTwice, FiveAndOneEach());
  ASSERT_EQ(plan.size(), 2u);
  EXPECT_EQ(plan[0], Part(1, 0, 16, true));
  EXPECT_EQ(plan[1].count, 16u);
}

TEST(PlanStepLanesTest, TheOldestIsPlannedThoughItIsBulkAndThereIsNoTime) {
  StepLimits limits = kTwice;
  limits.max_time = std::chrono::milliseconds(1);
  EXPECT_THAT(
      PlanStep({Bulk(1, 9, 10), Runnable(2, 9, 10), Bulk(3, 9, 10)}, limits, FiveAndOneEach()),
      ElementsAre(Part(2, 9, 1, true), Part(1, 9, 1, true)));
}

TEST(PlanStepLanesTest, ABulkPromptDoesNotTakeTheTurnOfTheOldestInteractiveOne) {
  StepLimits limits = kTwice;
  limits.max_time = std::chrono::milliseconds(1);
  EXPECT_THAT(PlanStep({Runnable(1, 9, 10), Bulk(2, 0, 100), Runnable(3, 0, 100),
                        Runnable(4, 0, 100), Bulk(5, 0, 100)},
                       limits, FiveAndOneEach()),
              ElementsAre(Part(1, 9, 1, true), Part(3, 0, 1, false), Part(2, 0, 1, false)));
}

class RandomPlans : public testing::Test {
 protected:
  // In [1, most].
  uint32_t UpTo(uint32_t most) { return static_cast<uint32_t>(1 + random_() % most); }
  StepLimits Limits() {
    return {.max_batch_tokens = UpTo(200),
            .max_prefill_tokens = UpTo(100),
            .max_sequences = UpTo(20),
            .max_time = std::chrono::milliseconds(random_() % 3 == 0 ? UpTo(60) : 0),
            .max_stretch = random_() % 2 == 0 ? 2.0 : 0.0};
  }
  RunnableSequence Sequence(uint64_t key) {
    const uint32_t computed = UpTo(100);
    const uint32_t missing = random_() % 2 == 0 ? 1 : UpTo(300);
    RunnableSequence s = Runnable(key, computed, computed + missing);
    if (random_() % 2 == 0) s.lane = Lane::kBulk;
    return s;
  }

  std::mt19937 random_{1};
  const StepCostModel cost_ = FiveAndOneEach();
};

TEST_F(RandomPlans, KeepTheLimitsAndTheRules) {
  for (int round = 0; round < 3000; ++round) {
    const StepLimits limits = Limits();
    std::map<SequenceKey, RunnableSequence> by_key;
    std::vector<RunnableSequence> runnable;
    const uint64_t n = 1 + random_() % 40;
    for (uint64_t key = 1; key <= n; ++key) {
      runnable.push_back(Sequence(key));
      by_key[SequenceKey(key)] = runnable.back();
    }
    std::shuffle(runnable.begin(), runnable.end(), random_);
    const auto plan = PlanStep(runnable, limits, cost_);

    uint32_t tokens = 0;
    uint32_t prefill = 0;
    uint32_t decoding = 0;
    std::map<SequenceKey, int> seen;
    for (const PlannedPart& part : plan) {
      const RunnableSequence& s = by_key.at(part.key);
      ASSERT_EQ(++seen[part.key], 1);
      ASSERT_EQ(part.start, s.computed);
      ASSERT_GE(part.count, 1u);
      ASSERT_LE(part.start + part.count, s.total);
      ASSERT_EQ(part.sample, part.start + part.count == s.total);
      tokens += part.count;
      const bool decodes = s.total - s.computed == 1;
      decoding += decodes && s.lane == Lane::kInteractive;
      if (!decodes) prefill += part.count;
    }
    ASSERT_LE(tokens, limits.max_batch_tokens);
    ASSERT_LE(prefill, limits.max_prefill_tokens);
    ASSERT_LE(plan.size(), limits.max_sequences);
    ASSERT_TRUE(seen.contains(SequenceKey(1))) << "the oldest was left out";
    // All interactive decoding is there when it fits beside the oldest's share.
    const auto all_decoding = static_cast<uint32_t>(
        std::count_if(runnable.begin(), runnable.end(), [](const RunnableSequence& s) {
          return s.total - s.computed == 1 && s.lane == Lane::kInteractive;
        }));
    if (all_decoding < limits.max_sequences &&
        all_decoding + kBlockTokens <= limits.max_batch_tokens) {
      ASSERT_EQ(decoding, all_decoding);
    }
    // The order of the input does not matter.
    std::shuffle(runnable.begin(), runnable.end(), random_);
    ASSERT_EQ(PlanStep(runnable, limits, cost_), plan);
  }
}

// Whatever bulk work there is, an interactive stream's step stays within its limit, but for what
// the guarantees of progress add: a token of each of at most two bulk sequences.
TEST_F(RandomPlans, BulkWorkKeepsTheStepsOfInteractiveStreamsShort) {
  for (int round = 0; round < 3000; ++round) {
    StepLimits limits = Limits();
    limits.max_time = {};
    limits.max_stretch = 2;
    std::vector<RunnableSequence> runnable = {Runnable(50, 9, 10)};
    for (uint64_t key = 1; key < 40; ++key) {
      runnable.push_back(Sequence(key));
      runnable.back().lane = Lane::kBulk;
    }
    const auto plan = PlanStep(runnable, limits, cost_);
    if (plan.front().key != SequenceKey(50)) continue;  // no room beside the oldest
    ASSERT_LE(cost_.Predict(WorkOf(plan)),
              2 * cost_.Predict(WorkOf(9, 1)) + std::chrono::milliseconds(3));
  }
}

TEST_F(RandomPlans, OldestBulkSequenceFinishesWhileInteractiveOnesKeepArriving) {
  for (int round = 0; round < 8; ++round) {
    const StepLimits limits = Limits();
    RunnableSequence bulk = Runnable(1, 0, 300);
    bulk.lane = Lane::kBulk;
    int steps = 0;
    for (uint64_t key = 2; bulk.computed < bulk.total && steps < 1000; key += 40, ++steps) {
      std::vector<RunnableSequence> runnable = {bulk};
      for (uint64_t i = 0; i < 40; ++i) runnable.push_back(Sequence(key + i));  // none gets old
      for (const PlannedPart& part : PlanStep(runnable, limits, cost_)) {
        if (part.key == bulk.key) bulk.computed += part.count;
      }
    }
    EXPECT_LE(steps, 300);  // a token a step at least
  }
}

TEST_F(RandomPlans, EverySequenceFinishesWhileNewOnesKeepArriving) {
  for (int round = 0; round < 8; ++round) {
    const StepLimits limits = Limits();
    std::map<uint64_t, RunnableSequence> waiting;  // by age
    uint64_t next_key = 1;
    uint64_t finished_up_to = 0;  // all older ones are gone
    for (int step = 0; step < 5000; ++step) {
      for (int i = 0; i < 3 && waiting.size() < 100; ++i, ++next_key) {
        waiting[next_key] = Sequence(next_key);
      }
      std::vector<RunnableSequence> runnable;
      for (const auto& [key, s] : waiting) runnable.push_back(s);
      for (const PlannedPart& part : PlanStep(runnable, limits, cost_)) {
        RunnableSequence& s = waiting.at(part.key.value());
        s.computed += part.count;
        if (s.computed == s.total) waiting.erase(part.key.value());
      }
      if (!waiting.empty()) finished_up_to = waiting.begin()->first - 1;
    }
    // The oldest gets at least one token a step, and none misses more than 300.
    EXPECT_GE(finished_up_to, 5000u / 300);
  }
}

}  // namespace
}  // namespace tandem
