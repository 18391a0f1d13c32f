// RouterCore when workers die, lie, fall silent or give up.
#include "router/core/router_core.h"
#include "tests/router/core/core_harness.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr WorkerRole kP = WorkerRole::kPrefill;
constexpr WorkerRole kD = WorkerRole::kDecode;

// Two prefill workers (0, 1) and one decode worker (2); request 1 is booked and being prefilled.
struct Filling : CoreHarness {
  Filling() {
    Up(0, kP, 10);
    Up(1, kP, 11);
    Up(2, kD, 12);
    Submit(1, 200);
    Receive(2, Booked{RequestId(1), 1, 0});
    generate = SentOne<Generate>(2);
    prefill = Sent<PrefillJob>(0).empty() ? 1 : 0;
    sent.clear();
  }
  JobEnded Ended(uint32_t attempt, JobResult result) const {
    return {.request = RequestId(1),
            .epoch = 1,
            .attempt = attempt,
            .result = result,
            .message = "why"};
  }
  // The second attempt went to the other prefill worker, with rights of its own.
  void ExpectSecondAttempt() {
    const Assign assign = SentOne<Assign>(2);
    ASSERT_TRUE(assign.assignment.has_value());
    EXPECT_EQ(assign.assignment->attempt, 2u);
    EXPECT_NE(assign.assignment->nonce, generate.assignment->nonce);
    EXPECT_EQ(assign.assignment->prefill, Incarnation(10 + other()));
    const PrefillJob job = SentOne<PrefillJob>(other());
    EXPECT_EQ(job.attempt, 2u);
    EXPECT_EQ(job.nonce, assign.assignment->nonce);
  }
  void ExpectSelfFill() { EXPECT_FALSE(SentOne<Assign>(2).assignment.has_value()); }
  uint32_t other() const { return 1 - prefill; }

  Generate generate;
  uint32_t prefill = 0;
};

TEST(RouterCoreFillTest, LostPrefillWorkerIsReplaced) {
  Filling h;
  h.Down(h.prefill);
  h.ExpectSecondAttempt();
  EXPECT_THAT(h.ended, IsEmpty());
}

TEST(RouterCoreFillTest, AbandonedAndRefusedJobsGoToAnotherWorkerThenToDecode) {
  for (JobResult result : {JobResult::kAbandoned, JobResult::kRefused, JobResult::kCancelled}) {
    Filling h;
    h.Receive(h.prefill, h.Ended(1, result));
    h.ExpectSecondAttempt();
    EXPECT_THAT(h.Sent<CancelJob>(h.prefill), IsEmpty());  // it has ended by its own word
    h.Receive(h.other(), h.Ended(2, result));
    h.ExpectSelfFill();
  }
}

TEST(RouterCoreFillTest, LostFillCancelsTheOldJob) {
  Filling h;
  h.Receive(2, FillLost{RequestId(1), 1, 1, "checksum", false});
  EXPECT_EQ(h.SentOne<CancelJob>(h.prefill).attempt, 1u);
  h.ExpectSecondAttempt();
  h.Receive(h.prefill, h.Ended(1, JobResult::kCancelled));  // its late word changes nothing
  EXPECT_THAT(h.Sent<Assign>(2), IsEmpty());
}

TEST(RouterCoreFillTest, RevokedJobWaitsForTheDecodeWorkersWord) {
  Filling h;
  h.Receive(h.prefill, h.Ended(1, JobResult::kRevoked));
  EXPECT_THAT(h.sent, IsEmpty());
  h.Receive(2, FillLost{RequestId(1), 1, 1, "too slow", false});
  h.ExpectSecondAttempt();
}

TEST(RouterCoreFillTest, DecodeTakingOverIsFinalForTheEpoch) {
  Filling h;
  h.Receive(2, FillLost{RequestId(1), 1, 1, "fallback", true});
  EXPECT_EQ(h.Sent<CancelJob>(h.prefill).size(), 1u);
  EXPECT_THAT(h.sent, IsEmpty());
  h.Receive(2, FillLost{RequestId(1), 1, 1, "again", false});
  h.Down(h.prefill);
  EXPECT_THAT(h.sent, IsEmpty());
}

TEST(RouterCoreFillTest, TakeOverThatCrossedTheNextAssignStillCounts) {
  Filling h;
  h.Down(h.prefill);
  h.ExpectSecondAttempt();
  h.Receive(2, FillLost{RequestId(1), 1, 1, "fallback", true});
  EXPECT_EQ(h.SentOne<CancelJob>(h.other()).attempt, 2u);
}

TEST(RouterCoreFillTest, LossAfterTheFirstTokenNeedsNoNewAttempt) {
  Filling h;
  h.Receive(2, CoreHarness::Frame(1, 1, 0, {1}));
  h.Down(h.prefill);
  EXPECT_THAT(h.sent, IsEmpty());
}

TEST(RouterCoreFillTest, PrefillWorkerLostBeforeTheBookingIsReplacedAtTheBooking) {
  CoreHarness h;
  h.Up(0, kP, 10);
  h.Up(2, kD, 12);
  h.Submit(1, 200);
  h.Down(0);
  h.Up(0, kP, 13);
  EXPECT_THAT(h.Sent<Assign>(2), IsEmpty());
  h.Receive(2, Booked{RequestId(1), 1, 0});
  EXPECT_EQ(h.SentOne<Assign>(2).assignment->prefill, Incarnation(13));
  EXPECT_EQ(h.SentOne<PrefillJob>(0).attempt, 2u);
}

TEST(RouterCoreFillTest, StaleJobMessagesAreCountedAndIgnored) {
  Filling h;
  const uint64_t before = h.core.stats().stale_messages;
  h.Receive(h.other(), h.Ended(1, JobResult::kAbandoned));  // not its job
  h.Receive(h.prefill, h.Ended(2, JobResult::kAbandoned));  // attempt unknown
  JobEnded old = h.Ended(1, JobResult::kAbandoned);
  old.epoch = 0;
  h.Receive(h.prefill, old);
  old.request = RequestId(77);
  h.Receive(h.prefill, old);
  h.Receive(2, FillLost{RequestId(1), 1, 0, "", false});
  h.Receive(2, FillLost{RequestId(1), 2, 1, "", false});
  h.Receive(2, FillLost{RequestId(77), 1, 1, "", false});
  EXPECT_EQ(h.core.stats().stale_messages, before + 7);
  EXPECT_THAT(h.sent, IsEmpty());
}

// Three decode workers; request 1 is booked on `decode` and has emitted tokens 1, 2.
struct Streaming : CoreHarness {
  explicit Streaming(uint32_t workers = 3, RouterCoreOptions options = DefaultOptions())
      : CoreHarness(std::move(options)) {
    for (uint32_t i = 0; i < workers; ++i) Up(i, kD, 10 + i);
    Submit(1, 20);
    decode = Holder().first;
    Receive(decode, Booked{RequestId(1), 1, 0});
    Receive(decode, Frame(1, 1, 0, {1, 2}));
    sent.clear();
  }
  std::pair<uint32_t, Generate> Holder() {
    for (uint32_t i = 0; i < 8; ++i) {
      const auto generates = Sent<Generate>(i);
      if (!generates.empty()) return {i, generates[0]};
    }
    return {99, {}};
  }
  uint32_t decode = 0;
};

TEST(RouterCoreEpochTest, KilledDecodeWorkersStreamContinuesWithoutLossOrRepeat) {
  Streaming h;
  h.Down(h.decode);
  const auto [next, generate] = h.Holder();
  ASSERT_NE(next, h.decode);
  ASSERT_LT(next, 3u);
  EXPECT_EQ(generate.epoch, 2u);
  EXPECT_EQ(generate.prompt.size(), 20u);
  EXPECT_THAT(generate.outputs, ElementsAre(1, 2));
  EXPECT_EQ(generate.sampling.seed, 7u);
  EXPECT_EQ(generate.sampling.max_tokens, 8u);
  h.Receive(next, Booked{RequestId(1), 2, 0});
  h.Receive(next, CoreHarness::Last(1, 2, 2, {3, 4}));
  EXPECT_THAT(h.EmittedTokens(), ElementsAre(1, 2, 3, 4));
  ASSERT_EQ(h.ended.size(), 1u);
  EXPECT_FALSE(h.ended[0].error.has_value());
  EXPECT_EQ(h.core.active_requests(), 0u);
}

TEST(RouterCoreEpochTest, WithoutAnotherWorkerTheStreamEndsWithAnError) {
  Streaming h(1);
  h.Down(h.decode);
  ASSERT_EQ(h.ended.size(), 1u);
  EXPECT_EQ(h.ended[0].error->kind, StreamErrorKind::kNoWorker);
  EXPECT_EQ(h.core.active_requests(), 0u);
}

TEST(RouterCoreEpochTest, WorkerOfAnotherModelDoesNotContinueAStream) {
  Streaming h(1);
  WorkerHello other = CoreHarness::Hello(kD, 50);
  other.handshake.kv.model_fingerprint = "another";
  h.core.WorkerUp(WorkerIndex(5), other, h.clock.Now());
  h.Down(h.decode);
  ASSERT_EQ(h.ended.size(), 1u);
  EXPECT_TRUE(h.ended[0].error.has_value());
}

TEST(RouterCoreEpochTest, RequestWhoseWorkersDiedTwiceIsNotTriedAgain) {
  Streaming h;
  h.Down(h.decode);
  const uint32_t next = h.Holder().first;
  h.Receive(next, Booked{RequestId(1), 2, 0});
  h.Receive(next, CoreHarness::Frame(1, 2, 2, {3}));
  h.Down(next);
  ASSERT_EQ(h.ended.size(), 1u);
  EXPECT_EQ(h.ended[0].error->kind, StreamErrorKind::kInternal);
  EXPECT_EQ(h.core.stats().poisoned, 1u);
}

TEST(RouterCoreEpochTest, WorkerThatCutsTheSessionOffIsNotDeadAndGoesOnWithTheStreamInTheNextOne) {
  Streaming h(1);
  for (uint32_t epoch = 1; epoch <= 4; ++epoch) {
    h.Down(h.decode, SessionEnd::kCutOff);
    ASSERT_THAT(h.ended, IsEmpty());
    h.Advance(100ms, {});
    h.Up(h.decode, kD, 10 + h.decode);
    EXPECT_EQ(h.SentOne<Generate>(h.decode).epoch, epoch + 1);
    h.Receive(h.decode, Booked{RequestId(1), epoch + 1, 0});
    h.Receive(h.decode, CoreHarness::Frame(1, epoch + 1, epoch + 1, {9}));
  }
  EXPECT_EQ(h.core.stats().poisoned, 0u);
}

TEST(RouterCoreEpochTest, StreamOfAWorkerThatCutTheSessionOffMovesToOneThatIsReady) {
  Streaming h;
  h.Down(h.decode, SessionEnd::kCutOff);
  EXPECT_EQ(h.Holder().second.epoch, 2u);
}

TEST(RouterCoreEpochTest, WorkerThatCutTheSessionOffIsNotWaitedForForLong) {
  Streaming h(1);
  h.Down(h.decode, SessionEnd::kCutOff);
  h.Submit(2, 20);
  const Duration limit = RouterCoreOptions().return_limit;
  EXPECT_EQ(h.core.NextDeadline(), h.clock.Now() + limit);
  h.Advance(limit - 1ms, {});
  EXPECT_THAT(h.ended, IsEmpty());
  h.Advance(1ms, {});
  ASSERT_EQ(h.ended.size(), 2u);
  for (const EndStream& end : h.ended) EXPECT_EQ(end.error->kind, StreamErrorKind::kNoWorker);
}

TEST(RouterCoreEpochTest, ErrorFinishMovesTheStreamAndThreeInARowEndIt) {
  Streaming h(6);
  uint32_t worker = h.decode;
  for (uint32_t epoch = 1; epoch <= 3; ++epoch) {
    ASSERT_THAT(h.ended, IsEmpty());
    h.Receive(worker, CoreHarness::Last(1, epoch, 2, {}, FinishReason::kError));
    worker = h.Holder().first;
    if (worker < 6) h.Receive(worker, Booked{RequestId(1), epoch + 1, 0});
  }
  ASSERT_EQ(h.ended.size(), 1u);
  EXPECT_THAT(h.ended[0].error->message, HasSubstr("broken"));
  EXPECT_THAT(h.EmittedTokens(), ElementsAre(1, 2));
}

TEST(RouterCoreEpochTest, ProgressRenewsTheFailureBudget) {
  Streaming h(6);
  uint32_t worker = h.decode;
  for (uint32_t epoch = 1; epoch <= 5; ++epoch) {
    h.Receive(worker, CoreHarness::Last(1, epoch, epoch + 1, {9}, FinishReason::kError));
    ASSERT_THAT(h.ended, IsEmpty());
    worker = h.Holder().first;
    h.Receive(worker, Booked{RequestId(1), epoch + 1, 0});
  }
}

TEST(RouterCoreEpochTest, UnansweredGenerateMovesAfterTheLimit) {
  CoreHarness h;
  h.Up(0, kD, 10);
  h.Up(1, kD, 11);
  h.Submit(1, 20);
  const uint32_t first = h.Sent<Generate>(0).empty() ? 1 : 0;
  h.Advance(2s);
  EXPECT_EQ(h.SentOne<Cancel>(first).epoch, 1u);
  EXPECT_EQ(h.SentOne<Generate>(1 - first).epoch, 2u);
  const uint64_t before = h.core.stats().stale_messages;
  h.Receive(first, Booked{RequestId(1), 1, 0});  // too late
  EXPECT_EQ(h.core.stats().stale_messages, before + 1);
}

TEST(RouterCoreEpochTest, SilentWorkerIsGivenUp) {
  Streaming h;
  std::vector<uint32_t> alive;
  for (uint32_t i = 0; i < 3; ++i) {
    if (i != h.decode) alive.push_back(i);
  }
  h.Advance(2s, alive);
  ASSERT_EQ(h.closed.size(), 1u);
  EXPECT_EQ(h.closed[0].worker, WorkerIndex(h.decode));
  EXPECT_EQ(h.Holder().second.epoch, 2u);
}

TEST(RouterCoreEpochTest, StalledRunnerLosesItsRequestsThoughItsCoreAnswers) {
  Streaming h;
  h.Receive(h.decode, WorkerHeartbeat{.progress_age = 31s, .load = {}});
  EXPECT_EQ(h.SentOne<Cancel>(h.decode).epoch, 1u);
  const auto [next, generate] = h.Holder();
  EXPECT_NE(next, h.decode);
  EXPECT_EQ(generate.epoch, 2u);
}

TEST(RouterCoreFrameTest, DuplicatesAreDroppedAndGapsEndTheEpoch) {
  Streaming h;
  h.Receive(h.decode, CoreHarness::Frame(1, 1, 0, {1, 2}));
  h.Receive(h.decode, CoreHarness::Frame(1, 1, 1, {2}));
  EXPECT_EQ(h.core.stats().duplicate_frames, 2u);
  EXPECT_THAT(h.EmittedTokens(), ElementsAre(1, 2));
  h.Receive(h.decode, CoreHarness::Frame(1, 1, 3, {4}));
  EXPECT_EQ(h.core.stats().gap_frames, 1u);
  EXPECT_EQ(h.Sent<Cancel>(h.decode).size(), 1u);
  EXPECT_THAT(h.Holder().second.outputs, ElementsAre(1, 2));
}

TEST(RouterCoreFrameTest, FramesOfOldEpochsOtherWorkersAndUnknownRequestsAreFenced) {
  Streaming h;
  const uint32_t other = (h.decode + 1) % 3;
  h.Receive(h.decode, CoreHarness::Frame(1, 0, 2, {9}));
  h.Receive(h.decode, CoreHarness::Frame(1, 2, 2, {9}));
  h.Receive(other, CoreHarness::Frame(1, 1, 2, {9}));
  h.Receive(h.decode, CoreHarness::Last(77, 1, 0, {9}));
  h.Receive(7, CoreHarness::Frame(1, 1, 2, {9}));  // not up
  EXPECT_EQ(h.core.stats().stale_messages, 5u);
  EXPECT_THAT(h.EmittedTokens(), ElementsAre(1, 2));
  EXPECT_THAT(h.ended, IsEmpty());
}

TEST(RouterCoreFrameTest, InvalidFramesEndTheEpoch) {
  std::vector<TokenFrame> frames = {
      CoreHarness::Frame(1, 1, 2, {-1}), CoreHarness::Frame(1, 1, 2, {3, 4, 5, 6, 7, 8, 9}),
      CoreHarness::Frame(1, 1, 2, {3}), CoreHarness::Frame(1, 1, 2, {3})};
  frames[2].choice = 1;
  frames[3].logprobs.resize(1);
  for (const TokenFrame& frame : frames) {
    Streaming h;
    h.Receive(h.decode, frame);
    EXPECT_EQ(h.core.stats().invalid_messages, 1u);
    EXPECT_EQ(h.Holder().second.epoch, 2u);
    EXPECT_THAT(h.EmittedTokens(), ElementsAre(1, 2));
  }
}

TEST(RouterCoreFrameTest, TokensBeforeTheBookingEndTheEpoch) {
  CoreHarness h;
  h.Up(0, kD, 10);
  h.Submit(1, 20);
  h.Receive(0, CoreHarness::Frame(1, 1, 0, {1}));
  EXPECT_EQ(h.core.stats().invalid_messages, 1u);
  EXPECT_THAT(h.emitted, IsEmpty());
  EXPECT_EQ(h.ended.size(), 1u);
}

TEST(RouterCoreFrameTest, SecondBookedAndLateRefusal) {
  Streaming h;
  h.Receive(h.decode, Booked{RequestId(1), 1, 0});
  EXPECT_EQ(h.core.stats().invalid_messages, 1u);
  EXPECT_THAT(h.sent, IsEmpty());
  h.Receive(h.decode, Refused{RequestId(1), 1, RefuseReason::kNoCapacity, ""});
  EXPECT_EQ(h.Holder().second.epoch, 2u);
}

TEST(RouterCoreRefusalTest, EachReasonHasItsWay) {
  {
    CoreHarness h;
    h.Up(0, kD, 10);
    h.Submit(1, 20);
    h.Receive(0, Refused{RequestId(1), 1, RefuseReason::kTooLong, "too long here"});
    ASSERT_EQ(h.ended.size(), 1u);
    EXPECT_EQ(h.ended[0].error->kind, StreamErrorKind::kInvalid);
    EXPECT_EQ(h.ended[0].error->message, "too long here");
  }
  {
    CoreHarness h;
    h.Up(0, kD, 10);
    h.Submit(1, 20);
    h.Receive(0, Refused{RequestId(1), 1, RefuseReason::kDraining, ""});
    ASSERT_EQ(h.ended.size(), 1u);
    EXPECT_EQ(h.ended[0].error->kind, StreamErrorKind::kNoWorker);
  }
  {
    CoreHarness h;
    h.Up(0, kD, 10);
    h.Up(1, kD, 11);
    h.Submit(1, 20);
    const uint32_t first = h.Sent<Generate>(0).empty() ? 1 : 0;
    h.Receive(first, Refused{RequestId(1), 1, RefuseReason::kDuplicate, ""});
    EXPECT_EQ(h.SentOne<Generate>(1 - first).epoch, 2u);
  }
}

}  // namespace
}  // namespace tandem
