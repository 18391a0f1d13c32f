// RouterCore without failures: the flow of design.md section 2, placement, admission, cancellation.
#include "router/core/router_core.h"

#include <algorithm>

#include "common/engine/admission.h"
#include "tests/router/core/core_harness.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr WorkerRole kP = WorkerRole::kPrefill;
constexpr WorkerRole kD = WorkerRole::kDecode;

TEST(RouterCoreTest, LongPromptIsPrefilledRemotelyAndStreamed) {
  CoreHarness h;
  h.Up(0, kP, 10);
  h.Up(1, kD, 11);
  h.Submit(1, 200);

  const Generate generate = h.SentOne<Generate>(1);
  EXPECT_EQ(generate.epoch, 1u);
  EXPECT_EQ(generate.prompt.size(), 200u);
  EXPECT_THAT(generate.outputs, IsEmpty());
  ASSERT_TRUE(generate.assignment.has_value());
  EXPECT_EQ(generate.assignment->attempt, 1u);
  EXPECT_EQ(generate.assignment->prefill, Incarnation(10));
  EXPECT_EQ(generate.assignment->fallback_after, 5s + 2s);
  EXPECT_THAT(h.Sent<PrefillJob>(0), IsEmpty());  // nothing is prefilled before the booking

  h.clock.Advance(3ms);
  h.Receive(1, Booked{RequestId(1), 1, 0});
  const PrefillJob job = h.SentOne<PrefillJob>(0);
  EXPECT_EQ(job.nonce, generate.assignment->nonce);
  EXPECT_EQ(job.tokens, generate.prompt);
  EXPECT_EQ(job.decode, Incarnation(11));
  EXPECT_EQ(job.decode_address, "address-11");

  h.clock.Advance(40ms);
  h.Receive(0, JobEnded{.request = RequestId(1),
                        .epoch = 1,
                        .attempt = 1,
                        .message = "",
                        .pushed_bytes = 99,
                        .queued = 1ms,
                        .computing = 30ms,
                        .exposed = 2ms});
  h.Receive(1, CoreHarness::Frame(1, 1, 0, {5}));
  h.clock.Advance(100ms);
  h.Receive(1, CoreHarness::Last(1, 1, 1, {6, 7}));

  EXPECT_THAT(h.EmittedTokens(), ElementsAre(5, 6, 7));
  ASSERT_EQ(h.ended.size(), 1u);
  const EndStream& end = h.ended[0];
  EXPECT_EQ(end.reason, FinishReason::kStop);
  EXPECT_FALSE(end.error.has_value());
  EXPECT_EQ(end.timings.route, 3ms);
  EXPECT_EQ(end.timings.prefill, 30ms);
  EXPECT_EQ(end.timings.push, 2ms);
  EXPECT_EQ(end.timings.pushed_bytes, 99u);
  EXPECT_EQ(end.timings.first_token, 43ms);
  EXPECT_EQ(end.timings.total, 143ms);
  EXPECT_NEAR(end.timings.tokens_per_second, 20, 1e-6);
  EXPECT_EQ(h.core.active_requests(), 0u);
  EXPECT_THAT(h.Sent<Cancel>(1), IsEmpty());
  EXPECT_THAT(h.Sent<CancelJob>(0), IsEmpty());
  EXPECT_EQ(h.core.stats().fills_remote, 1u);
}

TEST(RouterCoreTest, ShortPromptNeedsNoPrefillWorker) {
  CoreHarness h;
  h.Up(0, kP, 10);
  h.Up(1, kD, 11);
  h.Submit(1, 40);
  EXPECT_FALSE(h.SentOne<Generate>(1).assignment.has_value());
  h.Receive(1, Booked{RequestId(1), 1, 0});
  EXPECT_THAT(h.Sent<PrefillJob>(0), IsEmpty());
  EXPECT_EQ(h.core.stats().fills_short, 1u);
}

TEST(RouterCoreTest, BookedPrefixHitTurnsTheAssignmentIntoSelfFill) {
  CoreHarness h;
  h.Up(0, kP, 10);
  h.Up(1, kD, 11);
  h.Submit(1, 200);
  h.Receive(1, Booked{RequestId(1), 1, 192});
  EXPECT_FALSE(h.SentOne<Assign>(1).assignment.has_value());
  EXPECT_THAT(h.Sent<PrefillJob>(0), IsEmpty());
}

TEST(RouterCoreTest, WithoutPrefillWorkerDecodeFillsByItself) {
  CoreHarness h;
  h.Up(1, kD, 11);
  h.Submit(1, 200);
  EXPECT_FALSE(h.SentOne<Generate>(1).assignment.has_value());
  EXPECT_EQ(h.core.stats().fills_no_prefill, 1u);
}

TEST(RouterCoreTest, PrefillWorkerOfAnotherNumericProfileIsNotPaired) {
  CoreHarness h;
  WorkerHello other = CoreHarness::Hello(kP, 10);
  other.handshake.kv.numeric_profile = "another";
  h.core.WorkerUp(WorkerIndex(0), other, h.clock.Now());
  h.Up(1, kD, 11);
  h.Submit(1, 200);
  EXPECT_FALSE(h.SentOne<Generate>(1).assignment.has_value());
}

TEST(RouterCoreTest, WorkerOfAnotherModelIsTurnedAway) {
  RouterCoreOptions options = CoreHarness::DefaultOptions();
  options.model_fingerprint = "ours";
  CoreHarness h(options);
  h.Up(1, kD, 11);
  EXPECT_EQ(h.closed.size(), 1u);
  EXPECT_FALSE(h.core.HasReadyWorker(kD));
}

TEST(RouterCoreTest, RepeatedPromptReturnsToTheWorkersThatHoldIt) {
  CoreHarness h;
  h.Up(0, kP, 10);
  h.Up(1, kP, 11);
  h.Up(2, kD, 12);
  h.Up(3, kD, 13);
  h.Submit(2, 200);  // an even tie-break takes the first of each
  const bool first = !h.Sent<Generate>(2).empty();
  const uint32_t decode = first ? 2 : 3;
  h.Receive(decode, Booked{RequestId(2), 1, 0});
  const uint32_t prefill = h.Sent<PrefillJob>(0).empty() ? 1 : 0;
  h.Receive(prefill, JobEnded{.request = RequestId(2), .epoch = 1, .attempt = 1, .message = ""});
  h.Receive(decode, CoreHarness::Last(2, 1, 0, {1}));
  h.sent.clear();
  for (uint64_t id = 3; id < 9; ++id) {
    h.Submit(id, 200);
    EXPECT_EQ(h.Sent<Generate>(decode).size(), 1u);
    h.Receive(decode, Booked{RequestId(id), 1, 0});  // evicted there, still on the prefill worker
    EXPECT_EQ(h.Sent<PrefillJob>(prefill).size(), 1u);
    h.Receive(prefill, JobEnded{.request = RequestId(id), .epoch = 1, .attempt = 1, .message = ""});
    h.Receive(decode, CoreHarness::Last(id, 1, 0, {1}));
  }
}

TEST(RouterCoreTest, SaltSeparatesPrefixes) {
  CoreHarness h;
  h.Up(2, kD, 12);
  h.Up(3, kD, 13);
  h.Submit(2, 1000);
  const uint32_t decode = h.Sent<Generate>(2).empty() ? 3 : 2;
  h.Receive(decode, Booked{RequestId(2), 1, 0});
  h.Receive(decode, CoreHarness::Last(2, 1, 0, {1}));
  // Same parity, so without a known prefix the same tie-break; load then decides.
  h.Submit(4, 1000);
  EXPECT_EQ(h.Sent<Generate>(decode).size(), 1u);
  SubmitEvent salted = CoreHarness::Request(6, 1000);
  salted.cache_salt = "tenant";
  h.Submit(std::move(salted));
  EXPECT_EQ(h.Sent<Generate>(decode == 2 ? 3 : 2).size(), 1u);
}

TEST(RouterCoreTest, NoDecodeWorkerIs503AtOnce) {
  CoreHarness h;
  h.Up(0, kP, 10);
  h.Submit(1, 20);
  ASSERT_EQ(h.ended.size(), 1u);
  EXPECT_EQ(h.ended[0].error->kind, StreamErrorKind::kNoWorker);
  EXPECT_GE(h.ended[0].error->retry_after, 1s);
  EXPECT_EQ(h.core.active_requests(), 0u);
}

TEST(RouterCoreTest, TooLongForEveryWorkerIsInvalid) {
  CoreHarness h;
  h.Up(1, kD, 11);
  h.Submit(1, 2000, 100);
  ASSERT_EQ(h.ended.size(), 1u);
  EXPECT_EQ(h.ended[0].error->kind, StreamErrorKind::kInvalid);
}

TEST(RouterCoreTest, FullWorkerSendsTheRequestToTheNextOne) {
  CoreHarness h;
  h.Up(1, kD, 11);
  h.Up(2, kD, 12);
  h.Submit(1, 20);
  const uint32_t first = h.Sent<Generate>(1).empty() ? 2 : 1;
  h.Receive(first, Refused{RequestId(1), 1, RefuseReason::kNoCapacity, "full"});
  EXPECT_EQ(h.SentOne<Generate>(3 - first).epoch, 2u);
  EXPECT_THAT(h.ended, IsEmpty());
}

TEST(RouterCoreTest, WhenAllAreFullRequestsWaitInOrderAndBeyondTheBoundGet429) {
  CoreHarness h;
  h.Up(1, kD, 11);
  for (uint64_t id = 1; id <= 3; ++id) h.Submit(id, 20);
  for (uint64_t id = 1; id <= 3; ++id) {
    h.Receive(1, Refused{RequestId(id), 1, RefuseReason::kNoCapacity, "full"});
  }
  EXPECT_EQ(h.core.stats().queued, 3u);  // these were admitted before they were refused
  h.sent.clear();
  h.Submit(4, 20);
  ASSERT_EQ(h.ended.size(), 1u);
  EXPECT_EQ(h.ended[0].error->kind, StreamErrorKind::kOverloaded);
  EXPECT_GE(h.ended[0].error->retry_after, 1s);

  // One booking at a time, oldest first.
  h.Advance(100ms);
  EXPECT_EQ(h.SentOne<Generate>(1).request, RequestId(1));
  h.Receive(1, Booked{RequestId(1), 2, 0});
  EXPECT_EQ(h.SentOne<Generate>(1).request, RequestId(2));
  h.Receive(1, Refused{RequestId(2), 2, RefuseReason::kNoCapacity, "full"});
  EXPECT_THAT(h.Sent<Generate>(1), IsEmpty());
  // A finished stream makes room at once.
  h.Receive(1, CoreHarness::Last(1, 2, 0, {1}));
  EXPECT_EQ(h.SentOne<Generate>(1).request, RequestId(2));
}

TEST(RouterCoreTest, WaitingIsBounded) {
  RouterCoreOptions options = CoreHarness::DefaultOptions();
  options.queue_limit = 1s;
  CoreHarness h(options);
  h.Up(1, kD, 11);
  h.Submit(1, 20);
  h.Receive(1, Refused{RequestId(1), 1, RefuseReason::kNoCapacity, "full"});
  for (uint32_t epoch = 2; h.ended.empty() && epoch < 100; ++epoch) {
    h.Advance(100ms);
    h.Receive(1, Refused{RequestId(1), epoch, RefuseReason::kNoCapacity, "full"});
  }
  ASSERT_EQ(h.ended.size(), 1u);
  EXPECT_EQ(h.ended[0].error->kind, StreamErrorKind::kOverloaded);
  EXPECT_LE(h.ended[0].timings.total, 1100ms);
}

// One request runs, and no other one may: what comes waits in the router's queue of two places.
class RouterLanesTest : public testing::Test {
 protected:
  static RouterCoreOptions Options() {
    RouterCoreOptions options = CoreHarness::DefaultOptions();
    options.max_concurrent = 1;
    return options;
  }
  void SetUp() override {
    h_.Up(1, kD, 11);
    Submit(1, Lane::kInteractive);
    h_.Receive(1, Booked{RequestId(1), 1, 0});
    h_.sent.clear();
  }
  void Submit(uint64_t id, Lane lane) {
    SubmitEvent event = CoreHarness::Request(id, 20);
    event.lane = lane;
    h_.Submit(std::move(event));
  }

  CoreHarness h_{Options()};
};

TEST_F(RouterLanesTest, InteractiveRequestLeavesTheQueueBeforeBulkOnes) {
  Submit(2, Lane::kBulk);
  Submit(3, Lane::kInteractive);
  h_.Receive(1, CoreHarness::Last(1, 1, 0, {1}));
  EXPECT_EQ(h_.SentOne<Generate>(1).request, RequestId(3));
}

TEST_F(RouterLanesTest, BulkRequestWhosePatienceIsOverKeepsItsPlace) {
  Submit(2, Lane::kBulk);
  h_.Advance(kBulkPatience);
  Submit(3, Lane::kInteractive);
  h_.Receive(1, CoreHarness::Last(1, 1, 0, {1}));
  EXPECT_EQ(h_.SentOne<Generate>(1).request, RequestId(2));
}

TEST_F(RouterLanesTest, FullQueueGivesUpItsYoungestBulkRequestForAnInteractiveOne) {
  Submit(2, Lane::kBulk);
  Submit(3, Lane::kBulk);
  Submit(4, Lane::kInteractive);
  ASSERT_EQ(h_.ended.size(), 1u);
  EXPECT_EQ(h_.ended[0].request, RequestId(3));
  EXPECT_EQ(h_.ended[0].error->kind, StreamErrorKind::kOverloaded);
  Submit(5, Lane::kBulk);
  ASSERT_EQ(h_.ended.size(), 2u);
  EXPECT_EQ(h_.ended[1].request, RequestId(5));
  EXPECT_EQ(h_.core.stats().queued, 2u);
}

TEST(RouterCoreTest, ConcurrencyLimitMakesRequestsWaitForAnEnd) {
  RouterCoreOptions options = CoreHarness::DefaultOptions();
  options.max_concurrent = 1;
  CoreHarness h(options);
  h.Up(1, kD, 11);
  h.Submit(1, 20);
  h.Submit(2, 20);
  h.Receive(1, Booked{RequestId(1), 1, 0});
  EXPECT_EQ(h.Sent<Generate>(1).size(), 1u);
  h.Receive(1, CoreHarness::Last(1, 1, 0, {1}));
  EXPECT_EQ(h.SentOne<Generate>(1).request, RequestId(2));
}

TEST(RouterCoreTest, DrainingWorkerGetsNothingNewAndKeepsItsStreams) {
  CoreHarness h;
  h.Up(1, kD, 11);
  h.Submit(1, 20);
  h.Receive(1, Booked{RequestId(1), 1, 0});
  h.Receive(1, WorkerHeartbeat{.draining = true, .load = {}});
  EXPECT_FALSE(h.core.HasReadyWorker(kD));
  h.Submit(2, 20);
  ASSERT_EQ(h.ended.size(), 1u);
  h.Receive(1, CoreHarness::Last(1, 1, 0, {4}));
  EXPECT_THAT(h.EmittedTokens(), ElementsAre(4));
}

TEST(RouterCoreTest, ClientGoneCancelsOnAllWorkers) {
  CoreHarness h;
  h.Up(0, kP, 10);
  h.Up(1, kD, 11);
  h.Submit(1, 200);
  h.Receive(1, Booked{RequestId(1), 1, 0});
  h.ClientGone(1);
  EXPECT_EQ(h.SentOne<Cancel>(1).epoch, 1u);
  EXPECT_EQ(h.SentOne<CancelJob>(0).attempt, 1u);
  ASSERT_EQ(h.ended.size(), 1u);
  EXPECT_EQ(h.ended[0].error->kind, StreamErrorKind::kCancelled);
  EXPECT_EQ(h.core.active_requests(), 0u);
  h.ClientGone(1);
  h.StopMatched(1);
  EXPECT_EQ(h.ended.size(), 1u);
}

TEST(RouterCoreTest, EndAllEndsRunningWaitingAndLaterRequestsWithAnError) {
  RouterCoreOptions options = CoreHarness::DefaultOptions();
  options.max_concurrent = 1;
  CoreHarness h(options);
  h.Up(1, kD, 11);
  h.Submit(1, 20);
  h.Receive(1, Booked{RequestId(1), 1, 0});
  h.Submit(2, 20);
  EXPECT_EQ(h.Sent<Generate>(1).size(), 1u);
  h.EndAll();
  EXPECT_EQ(h.Sent<Cancel>(1).size(), 1u);
  EXPECT_EQ(h.Sent<Generate>(1).size(), 0u);
  h.Submit(3, 20);
  ASSERT_EQ(h.ended.size(), 3u);
  for (const EndStream& end : h.ended) EXPECT_EQ(end.error->kind, StreamErrorKind::kNoWorker);
  EXPECT_EQ(h.core.active_requests(), 0u);
}

TEST(RouterCoreTest, NoMoreIsRememberedOfAWorkerThanItHasRoomFor) {
  CoreHarness h;
  WorkerHello small = CoreHarness::Hello(kD, 11);
  small.num_blocks = 20;
  h.core.WorkerUp(WorkerIndex(1), small, h.clock.Now());
  for (uint64_t id = 1; id <= 3; ++id) {
    SubmitEvent event = CoreHarness::Request(id, 160);
    event.prompt.front() = static_cast<TokenId>(1000 + id);  // ten blocks that no other shares
    h.Submit(std::move(event));
    h.Receive(1, Booked{RequestId(id), 1, 0});
    h.Receive(1, CoreHarness::Last(id, 1, 0, {1}));
    EXPECT_EQ(h.core.stats().remembered_blocks, std::min<uint64_t>(10 * id, small.num_blocks));
  }
}

TEST(RouterCoreTest, StopMatchedCancelsAndEndsAsStop) {
  CoreHarness h;
  h.Up(1, kD, 11);
  h.Submit(1, 20);
  h.Receive(1, Booked{RequestId(1), 1, 0});
  h.Receive(1, CoreHarness::Frame(1, 1, 0, {1, 2}));
  h.StopMatched(1);
  EXPECT_EQ(h.Sent<Cancel>(1).size(), 1u);
  ASSERT_EQ(h.ended.size(), 1u);
  EXPECT_EQ(h.ended[0].reason, FinishReason::kStop);
  h.Receive(1, CoreHarness::Frame(1, 1, 2, {3}));  // already on its way
  EXPECT_EQ(h.EmittedTokens().size(), 2u);
}

TEST(RouterCoreTest, DeadlineEndsQueuedAndRunningRequests) {
  CoreHarness h;
  h.Up(1, kD, 11);
  SubmitEvent event = CoreHarness::Request(1, 20);
  event.deadline = h.clock.Now() + 3s;
  h.Submit(std::move(event));
  EXPECT_EQ(h.SentOne<Generate>(1).remaining, 3s);
  h.Receive(1, Booked{RequestId(1), 1, 0});
  h.Advance(3s);
  ASSERT_EQ(h.ended.size(), 1u);
  EXPECT_EQ(h.ended[0].error->kind, StreamErrorKind::kDeadline);
  EXPECT_EQ(h.Sent<Cancel>(1).size(), 1u);
}

TEST(RouterCoreTest, SendsHeartbeatsToLivingWorkersAndSleepsWithoutAny) {
  CoreHarness h;
  EXPECT_EQ(h.core.NextDeadline(), kNever);
  h.Up(1, kD, 11);
  EXPECT_EQ(h.core.NextDeadline(), h.clock.Now() + kHeartbeatInterval);
  h.Advance(4 * kHeartbeatInterval);
  EXPECT_EQ(h.Sent<RouterHeartbeat>(1).size(), 4u);
}

TEST(RouterCoreTest, LogprobsTravelWithTheirTokens) {
  CoreHarness h;
  h.Up(1, kD, 11);
  SubmitEvent event = CoreHarness::Request(1, 20);
  event.sampling.top_logprobs = 0;
  h.Submit(std::move(event));
  h.Receive(1, Booked{RequestId(1), 1, 0});
  TokenFrame frame = CoreHarness::Frame(1, 1, 0, {4});
  frame.logprobs.push_back(OutputLogprobs{{4, -0.5f}, {}});
  h.Receive(1, frame);
  ASSERT_EQ(h.emitted.size(), 1u);
  EXPECT_EQ(h.emitted[0].logprobs, frame.logprobs);
}

}  // namespace
}  // namespace tandem
