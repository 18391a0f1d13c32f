#include "prefill_worker/core/prefill_core.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tandem {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr SessionId kRouter{1};
constexpr Incarnation kDecode{7};
constexpr Nonce kNonce{3, 4};
constexpr uint32_t kLayers = 3;

// A PrefillCore in virtual time; the test plays the runner, the transport and the decode worker.
class PrefillCoreTest : public ::testing::Test {
 protected:
  static PrefillCoreOptions Options() {
    return {.num_layers = kLayers,
            .block_layer_bytes = 100,
            .chunk_tokens = 32,
            .max_running = 4,
            .max_jobs = 6,
            .max_model_len = 512};
  }

  void SetUp() override { Deliver(SessionOpened{kRouter}); }

  void Deliver(WorkerEvent event) {
    core_.Handle(std::move(event), now_, &effects_);
    core_.Advance(now_, Duration{}, &effects_);
  }
  void Submit(uint32_t tokens, uint32_t attempt = 1, Nonce nonce = kNonce,
              Duration remaining = std::chrono::seconds(60)) {
    PrefillJob job{.request = RequestId(1),
                   .epoch = 1,
                   .attempt = attempt,
                   .nonce = nonce,
                   .decode_address = "there",
                   .decode = kDecode,
                   .remaining = remaining};
    for (uint32_t i = 0; i < tokens; ++i) job.tokens.push_back(static_cast<TokenId>(i));
    Deliver(SessionMessages{kRouter, {std::move(job)}});
  }
  void FromDecode(PeerMessage message) {
    Deliver(TransferEvent(PeerMessageReceived{kDecode, std::move(message)}));
  }
  void SendGrant(uint32_t first_block, std::vector<uint32_t> runs) {
    FromDecode(Grant{kNonce, GrantId(5), first_block, std::move(runs)});
  }
  void Ack(uint32_t first, uint32_t count) { FromDecode(CommitAck{GrantId(5), first, count, {}}); }

  void RunLayers(uint32_t from, uint32_t to) {
    for (uint32_t layer = from; layer < to; ++layer) {
      Deliver(RunnerEvent(LayerDone{effects_.steps.front().id, layer}));
    }
  }
  void EndStep() {
    const StepId id = effects_.steps.front().id;
    effects_.steps.erase(effects_.steps.begin());
    Deliver(RunnerEvent(StepDone{.step = id}));
  }
  void RunStep() {
    RunLayers(0, kLayers);
    EndStep();
  }
  void EndSends() {
    for (const PushSegment& push : Commands<PushSegment>()) {
      if (sent_.insert(push.push).second) Deliver(TransferEvent(SegmentSent{push.push, true}));
    }
  }

  template <class T>
  std::vector<T> Commands() const {
    std::vector<T> found;
    for (const TransferCommand& command : effects_.transfers) {
      if (auto* c = std::get_if<T>(&command)) found.push_back(*c);
    }
    return found;
  }
  template <class T>
  std::vector<T> PeerMessages() const {
    std::vector<T> found;
    for (const SendPeerMessage& sent : Commands<SendPeerMessage>()) {
      if (auto* m = std::get_if<T>(&sent.message)) found.push_back(*m);
    }
    return found;
  }
  std::vector<JobEnded> Ended() const {
    std::vector<JobEnded> found;
    for (const auto& [session, message] : effects_.sends) {
      if (auto* m = std::get_if<JobEnded>(&message)) found.push_back(*m);
    }
    return found;
  }
  void ExpectAllGivenBack() {
    EndSends();
    cache_.pool().CheckConserved();
    EXPECT_TRUE(core_.idle());
    EXPECT_EQ(cache_.pool().available(), cache_.pool().num_blocks());
  }

  Instant now_{std::chrono::hours(1)};
  KvCache cache_{32};
  WorkerEffects effects_;
  std::set<PushId> sent_;
  PrefillCore core_{Options(), &cache_};
};

TEST_F(PrefillCoreTest, OffersWhenTheJobStartsAndComputesFullBlocksOnly) {
  Submit(70);  // four full blocks before the last token
  ASSERT_THAT(PeerMessages<Offer>(), SizeIs(1));
  EXPECT_EQ(PeerMessages<Offer>()[0].num_blocks, 4u);
  EXPECT_EQ(PeerMessages<Offer>()[0].receiver, kDecode);
  ASSERT_THAT(effects_.steps, SizeIs(2));  // two chunks of 32, both in flight
  EXPECT_THAT(effects_.steps[1].sequences[0].tokens, SizeIs(32));
  EXPECT_FALSE(effects_.steps[0].sequences[0].sample.has_value());
}

TEST_F(PrefillCoreTest, FirstLayersLeaveBeforeTheLastIsComputed) {
  Submit(70);
  SendGrant(0, {4});
  RunLayers(0, 1);
  ASSERT_THAT(Commands<PushSegment>(), SizeIs(1));
  EXPECT_EQ(Commands<PushSegment>()[0].segment, (SegmentId{0, 0, 0, 2}));
  EXPECT_THAT(PeerMessages<Commit>(), IsEmpty());
  RunLayers(1, kLayers);
  EndStep();
  ASSERT_THAT(PeerMessages<Commit>(), SizeIs(1));
  EXPECT_THAT(PeerMessages<Commit>()[0].segments, SizeIs(kLayers));
  RunStep();
  Ack(0, 2);
  EXPECT_THAT(Ended(), IsEmpty());
  Ack(2, 2);
  ASSERT_THAT(Ended(), SizeIs(1));
  EXPECT_EQ(Ended()[0].result, JobResult::kPushed);
  EXPECT_EQ(Ended()[0].computed_tokens, 64u);
  EXPECT_EQ(Ended()[0].pushed_bytes, 4u * kLayers * 100);
  ExpectAllGivenBack();
}

TEST_F(PrefillCoreTest, LateGrantPushesWhatIsComputedAndThenFollows) {
  Submit(70);
  RunStep();
  RunLayers(0, 2);
  SendGrant(0, {4});
  // The first chunk in all layers, the second in the two that are done.
  EXPECT_THAT(Commands<PushSegment>(), SizeIs(kLayers + 2));
  ASSERT_THAT(PeerMessages<Commit>(), SizeIs(1));
  RunLayers(2, kLayers);
  EndStep();
  ASSERT_THAT(PeerMessages<Commit>(), SizeIs(2));
  EXPECT_THAT(PeerMessages<Commit>()[1].segments, SizeIs(kLayers));
  Ack(0, 2);
  Ack(2, 2);
  ExpectAllGivenBack();
}

TEST_F(PrefillCoreTest, PushesOnlyWhatIsMissing) {
  Submit(70);
  SendGrant(3, {1});
  RunStep();
  EXPECT_THAT(Commands<PushSegment>(), IsEmpty());
  RunStep();
  EXPECT_THAT(Commands<PushSegment>(), SizeIs(kLayers));
  EXPECT_EQ(Commands<PushSegment>()[0].segment.first_block, 3u);
  Ack(3, 1);
  EXPECT_EQ(Ended()[0].result, JobResult::kPushed);
  ExpectAllGivenBack();
}

TEST_F(PrefillCoreTest, SecondJobWithTheSamePromptComputesNothing) {
  Submit(70);
  RunStep();
  RunStep();
  SendGrant(0, {4});
  Ack(0, 4);
  EndSends();
  effects_ = {};
  Submit(70, 2, Nonce{8, 8});
  EXPECT_THAT(effects_.steps, IsEmpty());
  FromDecode(Grant{Nonce{8, 8}, GrantId(6), 0, {4}});
  EXPECT_THAT(Commands<PushSegment>(), SizeIs(kLayers));
  FromDecode(CommitAck{GrantId(6), 0, 4, {}});
  EXPECT_EQ(Ended()[0].cached_tokens, 64u);
  EXPECT_EQ(Ended()[0].computed_tokens, 0u);
  ExpectAllGivenBack();
}

TEST_F(PrefillCoreTest, BlocksStayHeldUntilSendsAreTerminal) {
  Submit(40);
  SendGrant(0, {2});
  RunStep();
  Ack(0, 2);
  EXPECT_THAT(Ended(), SizeIs(1));
  EXPECT_FALSE(core_.idle());
  EndSends();
  ExpectAllGivenBack();
}

TEST_F(PrefillCoreTest, CancelTellsTheDecodeWorkerAndWaitsForTheStep) {
  Submit(40);
  Deliver(SessionMessages{kRouter, {CancelJob{RequestId(1), 1, 1}}});
  EXPECT_THAT(PeerMessages<Abandon>(), SizeIs(1));
  EXPECT_EQ(Ended()[0].result, JobResult::kCancelled);
  EXPECT_FALSE(core_.idle());
  now_ += std::chrono::milliseconds(30);
  RunStep();
  ExpectAllGivenBack();
  EXPECT_THAT(core_.TakeCancelToFree(), ElementsAre(std::chrono::milliseconds(30)));
  EXPECT_THAT(core_.TakeCancelToFree(), IsEmpty());
}

TEST_F(PrefillCoreTest, CancelledJobLeavesAllItsStepsAndFreesItsBlocksWhenItHas) {
  Submit(70);
  ASSERT_THAT(effects_.steps, SizeIs(2));
  const StepId first = effects_.steps[0].id, second = effects_.steps[1].id;
  const SequenceKey key = effects_.steps[0].sequences[0].key;
  Deliver(SessionMessages{kRouter, {CancelJob{RequestId(1), 1, 1}}});
  EXPECT_THAT(effects_.drops,
              ElementsAre(Field(&StepDrop::step, first), Field(&StepDrop::step, second)));
  Deliver(RunnerEvent(SequenceDropped{first, key}));
  EXPECT_LT(cache_.pool().available(), cache_.pool().num_blocks());
  Deliver(RunnerEvent(SequenceDropped{second, key}));
  EXPECT_EQ(cache_.pool().available(), cache_.pool().num_blocks());
  EndStep();
  EndStep();
  ExpectAllGivenBack();
}

TEST_F(PrefillCoreTest, RevocationEndsTheJobWithoutAnAnswer) {
  Submit(40);
  FromDecode(Revoke{kNonce, "another filler"});
  EXPECT_EQ(Ended()[0].result, JobResult::kRevoked);
  EXPECT_THAT(PeerMessages<Abandon>(), IsEmpty());
  RunStep();
  ExpectAllGivenBack();
}

// Unlike a revocation, nobody else tells the router of it: an offer may come before the decode
// worker has heard of the attempt.
TEST_F(PrefillCoreTest, RefusedOfferIsThisWorkersOwnEnd) {
  Submit(40);
  FromDecode(OfferRefused{kNonce, "unknown or revoked nonce"});
  EXPECT_EQ(Ended()[0].result, JobResult::kAbandoned);
  EXPECT_THAT(PeerMessages<Abandon>(), IsEmpty());
  RunStep();
  ExpectAllGivenBack();
}

TEST_F(PrefillCoreTest, LostDecodeWorkerEndsItsJobs) {
  Submit(40);
  SendGrant(0, {2});
  RunLayers(0, 1);
  Deliver(TransferEvent(PeerDown{kDecode, "killed"}));
  EXPECT_EQ(Ended()[0].result, JobResult::kAbandoned);
  RunLayers(1, kLayers);
  EndStep();
  EXPECT_THAT(Commands<PushSegment>(), SizeIs(1));  // nothing after the loss
  ExpectAllGivenBack();
}

TEST_F(PrefillCoreTest, NamedBadSegmentsEndTheJob) {
  Submit(40);
  SendGrant(0, {2});
  RunStep();
  FromDecode(CommitAck{GrantId(5), 0, 2, {{0, 1, 0, 2}}});
  EXPECT_EQ(Ended()[0].result, JobResult::kAbandoned);
  ExpectAllGivenBack();
}

TEST_F(PrefillCoreTest, SilenceAfterACommitEndsTheJob) {
  Submit(40);
  SendGrant(0, {2});
  RunStep();
  EndSends();
  EXPECT_EQ(core_.NextDeadline(), now_ + kHeartbeatInterval);
  now_ += std::chrono::seconds(6);
  core_.Advance(now_, Duration{}, &effects_);
  EXPECT_EQ(Ended()[0].result, JobResult::kAbandoned);
  ExpectAllGivenBack();
}

TEST_F(PrefillCoreTest, GrantThatDoesNotFitTheOfferIsNotUsed) {
  Submit(70);
  SendGrant(1, {9});
  EXPECT_EQ(Ended()[0].result, JobResult::kAbandoned);
  EXPECT_THAT(Commands<PushSegment>(), IsEmpty());
  RunStep();
  RunStep();
  ExpectAllGivenBack();
}

TEST_F(PrefillCoreTest, JobsBeyondTheBoundsAreRefused) {
  Submit(600);
  EXPECT_EQ(Ended()[0].result, JobResult::kRefused);
  for (uint32_t attempt = 1; attempt <= 7; ++attempt) Submit(20, attempt, Nonce{1, attempt});
  EXPECT_THAT(Ended(), SizeIs(2));
  EXPECT_EQ(Ended()[1].message, "queue full");
}

TEST_F(PrefillCoreTest, JobWithoutADeadlineNeverExpires) {
  Submit(40, 1, kNonce, kNever - Instant{});
  EXPECT_THAT(Ended(), IsEmpty());
  EXPECT_THAT(PeerMessages<Offer>(), SizeIs(1));
}

TEST_F(PrefillCoreTest, RepeatedJobIsServedOnce) {
  Submit(40);
  Submit(40);
  EXPECT_THAT(PeerMessages<Offer>(), SizeIs(1));
}

TEST_F(PrefillCoreTest, EngineFailureEndsTheJobsOfTheStep) {
  Submit(40);
  const StepId id = effects_.steps.front().id;
  effects_.steps.clear();
  Deliver(RunnerEvent(StepDone{.step = id, .status = absl::InternalError("NaN")}));
  EXPECT_EQ(Ended()[0].result, JobResult::kAbandoned);
  ExpectAllGivenBack();
}

TEST_F(PrefillCoreTest, StepAfterAFailedOneLeavesNothingInTheCache) {
  Submit(96);
  ASSERT_THAT(effects_.steps, SizeIs(2));
  const StepId first = effects_.steps[0].id;
  const StepId second = effects_.steps[1].id;
  effects_.steps.clear();
  Deliver(RunnerEvent(StepDone{.step = first, .status = absl::InternalError("NaN")}));
  Deliver(RunnerEvent(StepDone{.step = second}));
  ExpectAllGivenBack();
  EXPECT_EQ(cache_.pool().count(BlockState::kCached), 0u);
}

TEST_F(PrefillCoreTest, StaleAnswersAreCountedAndChangeNothing) {
  SendGrant(0, {2});
  Ack(0, 2);
  EXPECT_EQ(core_.counters().stale_messages, 2u);
}

}  // namespace
}  // namespace tandem
