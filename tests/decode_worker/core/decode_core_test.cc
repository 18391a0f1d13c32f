#include "decode_worker/core/decode_core.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/decode_worker/core/decode_rig.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST(DecodeCoreTest, FillsByItselfWithoutAnAssignmentAndFinishesByLength) {
  DecodeRig rig;
  rig.Send(rig.NewGenerate(1, 40, 3));
  EXPECT_THAT(rig.Sent<Booked>(), SizeIs(1));
  rig.RunUntilIdle();
  EXPECT_THAT(rig.Tokens(1), ElementsAre(10, 11, 12));
  const auto frames = rig.Sent<TokenFrame>();
  ASSERT_TRUE(frames.back().finish.has_value());
  EXPECT_EQ(frames.back().finish->reason, FinishReason::kLength);
  EXPECT_EQ(frames.back().finish->timings.computed_tokens, 40u);
  EXPECT_TRUE(rig.OnlyFreeAndCachedRemain());
}

TEST(DecodeCoreTest, LocalFillIsBoundedPerStepAndSampledOnlyAtItsEnd) {
  DecodeRig rig;
  rig.Send(rig.NewGenerate(1, 70, 1));
  std::vector<size_t> counts;
  while (rig.RunStep()) counts.push_back(rig.last_plan_.sequences[0].tokens.size());
  EXPECT_THAT(counts, ElementsAre(32, 32, 6));
  EXPECT_THAT(rig.Tokens(1), SizeIs(1));
}

TEST(DecodeCoreTest, EndTokenEndsTheOutputAndIsNotPartOfIt) {
  DecodeRig rig;
  rig.Send(rig.NewGenerate(1, 5, 10));
  for (int i = 0; i < 5; ++i) rig.RunStep([](uint32_t index) { return index == 2 ? kEnd : 50; });
  EXPECT_THAT(rig.Tokens(1), ElementsAre(50, 50));
  EXPECT_EQ(rig.Sent<TokenFrame>().back().finish->reason, FinishReason::kStop);
}

TEST(DecodeCoreTest, IgnoreEosRunsToTheExactLength) {
  DecodeRig rig;
  Generate generate = rig.NewGenerate(1, 5, 4);
  generate.sampling.ignore_eos = true;
  rig.Send(generate);
  for (int i = 0; i < 6; ++i) rig.RunStep([](uint32_t) { return kEnd; });
  EXPECT_THAT(rig.Tokens(1), ElementsAre(kEnd, kEnd, kEnd, kEnd));
  EXPECT_EQ(rig.Sent<TokenFrame>().back().finish->reason, FinishReason::kLength);
}

TEST(DecodeCoreTest, EndTokensAreBannedBeforeMinTokens) {
  DecodeRig rig;
  Generate generate = rig.NewGenerate(1, 5, 3);
  generate.sampling.min_tokens = 2;
  generate.sampling.stop_token_ids = {33};
  rig.Send(generate);
  rig.RunStep();
  EXPECT_THAT(rig.last_plan_.sequences[0].sample->banned, ElementsAre(33, kEnd));
  rig.RunStep();
  rig.RunStep();
  EXPECT_THAT(rig.last_plan_.sequences[0].sample->banned, IsEmpty());
}

TEST(DecodeCoreTest, StopTokenIdIsReported) {
  DecodeRig rig;
  Generate generate = rig.NewGenerate(1, 5, 9);
  generate.sampling.stop_token_ids = {33};
  rig.Send(generate);
  rig.RunStep([](uint32_t) { return 33; });
  EXPECT_THAT(rig.Tokens(1), IsEmpty());
  EXPECT_EQ(rig.Sent<TokenFrame>().back().finish->stop_token, 33);
}

TEST(DecodeCoreTest, SequencesJoinAndLeaveTheBatchAtAnyStep) {
  DecodeRig rig;
  rig.Send(rig.NewGenerate(1, 5, 6));
  rig.RunStep();
  rig.Send(rig.NewGenerate(2, 5, 2));  // while a step runs
  rig.RunStep();
  rig.RunStep();
  EXPECT_THAT(rig.last_plan_.sequences, SizeIs(2));
  rig.RunUntilIdle();
  EXPECT_THAT(rig.Tokens(1), SizeIs(6));
  EXPECT_THAT(rig.Tokens(2), SizeIs(2));
}

TEST(DecodeCoreTest, ResumedRequestContinuesItsIndices) {
  DecodeRig rig;
  Generate generate = rig.NewGenerate(1, 20, 5);
  generate.outputs = {10, 11};
  generate.epoch = 2;
  rig.Send(generate);
  rig.RunUntilIdle();
  EXPECT_THAT(rig.Tokens(1), ElementsAre(12, 13, 14));
  EXPECT_EQ(rig.Sent<TokenFrame>().front().first_index, 2u);
}

TEST(DecodeCoreTest, RefusesWhatCanNeverFitAndWhatDoesNotFitNow) {
  DecodeRig rig(8);
  rig.Send(rig.NewGenerate(1, 200, 100));
  ASSERT_THAT(rig.Sent<Refused>(), SizeIs(1));
  EXPECT_EQ(rig.Sent<Refused>()[0].reason, RefuseReason::kTooLong);
  rig.Send(rig.NewGenerate(2, 70, 16));
  rig.Send(rig.NewGenerate(3, 70, 16));
  ASSERT_THAT(rig.Sent<Refused>(), SizeIs(2));
  EXPECT_EQ(rig.Sent<Refused>()[1].reason, RefuseReason::kNoCapacity);
}

TEST(DecodeCoreTest, KnownEpochIsRefusedAndANewerOneReplacesIt) {
  DecodeRig rig;
  rig.Send(rig.NewGenerate(1, 20, 5));
  rig.Send(rig.NewGenerate(1, 20, 5));
  ASSERT_THAT(rig.Sent<Refused>(), SizeIs(1));
  EXPECT_EQ(rig.Sent<Refused>()[0].reason, RefuseReason::kDuplicate);
  Generate newer = rig.NewGenerate(1, 20, 5);
  newer.epoch = 2;
  rig.Send(newer);
  rig.RunUntilIdle();
  for (const TokenFrame& frame : rig.Sent<TokenFrame>()) EXPECT_EQ(frame.epoch, 2u);
  EXPECT_TRUE(rig.OnlyFreeAndCachedRemain());
}

TEST(DecodeCoreTest, CancelDuringAStepFreesBlocksOnlyAfterIt) {
  DecodeRig rig;
  rig.Send(rig.NewGenerate(1, 40, 50));
  rig.Send(Cancel{RequestId(1), 1});
  EXPECT_FALSE(rig.core_.idle());
  EXPECT_LT(rig.cache_.pool().available(), rig.cache_.pool().num_blocks());
  rig.Advance(std::chrono::milliseconds(40));
  EXPECT_THAT(rig.core_.TakeCancelToFree(), IsEmpty());
  rig.RunStep();
  EXPECT_TRUE(rig.OnlyFreeAndCachedRemain());
  EXPECT_THAT(rig.Sent<TokenFrame>(), IsEmpty());
  EXPECT_THAT(rig.core_.TakeCancelToFree(), ElementsAre(std::chrono::milliseconds(40)));
}

TEST(DecodeCoreTest, CancelledSequenceLeavesTheStepAndTheOthersGoOn) {
  DecodeRig rig;
  rig.Send(rig.NewGenerate(1, 40, 3));
  rig.RunStep();
  rig.RunStep();  // the first token; the next step computes it
  rig.Send(rig.NewGenerate(2, 10, 3));
  rig.RunStep();  // both are in the step that runs now
  ASSERT_THAT(rig.effects_.steps, SizeIs(1));
  StepPlan& running = rig.effects_.steps[0];
  ASSERT_THAT(running.sequences, SizeIs(2));
  rig.Send(Cancel{RequestId(1), 1});
  ASSERT_THAT(rig.effects_.drops, SizeIs(1));
  const StepDrop drop = rig.effects_.drops[0];
  EXPECT_EQ(drop.step, running.id);
  std::erase_if(running.sequences, [&](const StepSequence& s) { return s.key == drop.key; });
  const uint32_t before = rig.cache_.pool().available();
  rig.Deliver(RunnerEvent(SequenceDropped{drop.step, drop.key}));
  EXPECT_GT(rig.cache_.pool().available(), before);
  rig.RunUntilIdle();
  EXPECT_THAT(rig.Tokens(2), ElementsAre(10, 11, 12));
  EXPECT_TRUE(rig.OnlyFreeAndCachedRemain());
}

TEST(DecodeCoreTest, EndOfASessionCancelsAllItStarted) {
  DecodeRig rig;
  rig.Send(rig.NewGenerate(1, 40, 50));
  rig.Send(rig.NewGenerate(2, 40, 50, DecodeRig::Assignment(1)));
  rig.Deliver(SessionClosed{kRouter, "gone"});
  rig.RunStep();
  EXPECT_TRUE(rig.OnlyFreeAndCachedRemain());
}

TEST(DecodeCoreTest, RequestEndsAtItsDeadline) {
  DecodeRig rig;
  rig.Send(rig.NewGenerate(1, 40, 50, DecodeRig::Assignment(1)));
  rig.core_.NextDeadline();
  rig.Advance(std::chrono::seconds(61));
  ASSERT_THAT(rig.Sent<TokenFrame>(), SizeIs(1));
  EXPECT_EQ(rig.Sent<TokenFrame>()[0].finish->reason, FinishReason::kError);
  EXPECT_TRUE(rig.OnlyFreeAndCachedRemain());
}

// A router without a limit sends what is left of all time by its own clock; the worker's may be
// ahead.
TEST(DecodeCoreTest, RequestWithoutADeadlineNeverExpires) {
  DecodeRig rig;
  Generate generate = rig.NewGenerate(1, 10, 5);
  generate.remaining = kNever - Instant{};
  rig.Send(generate);
  rig.RunUntilIdle();
  EXPECT_THAT(rig.Tokens(1), SizeIs(5));
}

TEST(DecodeCoreTest, FailedStepEndsItsRequestsAndKeepsServing) {
  DecodeRig rig;
  rig.Send(rig.NewGenerate(1, 10, 5));
  const StepId step = rig.effects_.steps.back().id;
  rig.effects_.steps.clear();
  rig.Deliver(RunnerEvent(StepDone{.step = step, .status = absl::InternalError("NaN logits")}));
  EXPECT_EQ(rig.Sent<TokenFrame>().back().finish->reason, FinishReason::kError);
  rig.Send(rig.NewGenerate(2, 10, 1));
  rig.RunUntilIdle();
  EXPECT_THAT(rig.Tokens(2), SizeIs(1));
}

TEST(DecodeCoreTest, SequenceThatCannotBeSampledFailsAloneAndItsStepIsNotCached) {
  DecodeRig rig;
  rig.Send(rig.NewGenerate(1, 20, 5));
  rig.RunStep();
  rig.Send(rig.NewGenerate(2, 20, 5));
  rig.RunStep();
  const StepPlan plan = rig.effects_.steps.back();
  ASSERT_THAT(plan.sequences, SizeIs(2));
  rig.effects_.steps.clear();
  StepDone done{.step = plan.id};
  for (const StepSequence& sequence : plan.sequences) {
    SampledToken sampled{.key = sequence.key, .token = 11};
    if (sequence.start == 0) sampled.status = absl::InternalError("NaN");
    done.sampled.push_back(sampled);
  }
  rig.Deliver(RunnerEvent(std::move(done)));
  EXPECT_EQ(rig.Sent<TokenFrame>().back().request, RequestId(2));
  EXPECT_EQ(rig.Sent<TokenFrame>().back().finish->reason, FinishReason::kError);
  EXPECT_EQ(rig.core_.counters().failed, 1u);
  rig.RunUntilIdle();
  EXPECT_THAT(rig.Tokens(1), SizeIs(5));
  EXPECT_THAT(rig.Tokens(2), IsEmpty());
  Generate again = rig.NewGenerate(2, 20, 1);
  again.epoch = 2;
  rig.Send(again);
  EXPECT_EQ(rig.Sent<Booked>().back().cached_tokens, 0u);
  rig.RunUntilIdle();
  EXPECT_THAT(rig.Tokens(2), SizeIs(1));
  EXPECT_TRUE(rig.OnlyFreeAndCachedRemain());
}

TEST(DecodeCoreTest, PreemptedSequenceFinishesWithTheSameTokens) {
  DecodeCoreOptions options = DecodeRig::DefaultOptions();
  options.expected_output_tokens = 1;  // books too little on purpose
  DecodeRig rig(8, options);
  rig.Send(rig.NewGenerate(1, 40, 60));
  rig.Send(rig.NewGenerate(2, 40, 60));
  rig.RunUntilIdle();
  EXPECT_GT(rig.core_.counters().preemptions, 0u);
  EXPECT_THAT(rig.Tokens(1), SizeIs(60));
  EXPECT_EQ(rig.Tokens(1), rig.Tokens(2));
  EXPECT_TRUE(rig.OnlyFreeAndCachedRemain());
}

TEST(DecodeCoreTest, SecondRequestWithThePromptOfTheFirstFindsItCached) {
  DecodeRig rig;
  rig.Send(rig.NewGenerate(1, 40, 2));
  rig.RunUntilIdle();
  Generate again = rig.NewGenerate(1, 40, 2);
  again.epoch = 2;
  rig.Send(again);
  EXPECT_EQ(rig.Sent<Booked>().back().cached_tokens, 32u);
  rig.RunUntilIdle();
  EXPECT_EQ(rig.Sent<TokenFrame>().back().finish->timings.computed_tokens, 8u);
}

}  // namespace
}  // namespace tandem
