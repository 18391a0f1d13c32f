// The engine's promises on a transport that breaks things: damage is seen, order does not matter,
// deadlines hold. Loopback and a clock moved by hand: deterministic.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/protocol/peer_wire.h"
#include "common/transfer/fault/fault_transport.h"
#include "common/transfer/loopback/loopback_transport.h"
#include "tests/common/transfer/engine_node.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr GrantId kGrant{7};
constexpr auto kMs = std::chrono::milliseconds(1);

class FaultTest : public ::testing::Test {
 protected:
  // The sender's outgoing traffic meets `rules`; control message 1 is the first after its hello.
  void Start(std::vector<FaultRule> rules, uint64_t seed = 1) {
    hub_ = std::make_shared<LoopbackHub>();
    auto fault =
        std::make_unique<FaultTransport>(std::make_unique<LoopbackTransport>(hub_), rules, seed);
    fault_ = fault.get();
    sender_ = std::make_unique<EngineNode>(std::move(fault), TestOptions(101));
    receiver_ =
        std::make_unique<EngineNode>(std::make_unique<LoopbackTransport>(hub_), TestOptions(202));
    sender_->Do(ConnectPeer{receiver_->id, receiver_->address()}, clock_.Now());
    Run();
    ASSERT_THAT(sender_->Events<PeerUp>(), SizeIs(1));
  }
  // Some milliseconds pass while both poll.
  void Run(int ms = 30) {
    for (int i = 0; i < ms; ++i) {
      sender_->Poll(clock_.Now());
      receiver_->Poll(clock_.Now());
      clock_.Advance(kMs);
    }
  }
  // Pushes logical block 0, all layers, and commits it.
  void PushBlock() {
    receiver_->Do(OpenLanding{kGrant, sender_->id, 0, {BlockId(20)}}, clock_.Now());
    for (uint16_t layer = 0; layer < kTestLayers; ++layer) {
      segments_.push_back({0, layer, 0, 1});
      sender_->Do(
          PushSegment{PushId(layer + 1), receiver_->id, kGrant, segments_.back(), BlockId(1)},
          clock_.Now());
    }
    sender_->Do(SendPeerMessage{receiver_->id, Commit{kGrant, 0, 1, segments_}}, clock_.Now());
  }
  static FaultRule OnSegment(FaultAction action, uint64_t nth) {
    return {FaultRule::Target::kSegment, action, nth, 0, 10};
  }
  static FaultRule OnControl(FaultAction action, uint64_t nth) {
    return {FaultRule::Target::kControl, action, nth, 0, 10};
  }

  FakeClock clock_;
  std::shared_ptr<LoopbackHub> hub_;
  FaultTransport* fault_ = nullptr;
  std::unique_ptr<EngineNode> sender_;
  std::unique_ptr<EngineNode> receiver_;
  std::vector<SegmentId> segments_;
};

TEST_F(FaultTest, FlippedBitIsSeenAndTheSegmentNamed) {
  Start({OnSegment(FaultAction::kFlipBit, 2)});
  PushBlock();
  Run();
  ASSERT_THAT(receiver_->Events<ChunkRejected>(), SizeIs(1));
  EXPECT_THAT(receiver_->Events<ChunkRejected>()[0].bad, ElementsAre(segments_[1]));
  EXPECT_THAT(receiver_->Events<ChunkVerified>(), IsEmpty());
  EXPECT_EQ(receiver_->engine().counters().checksum_failures, 1u);
}

TEST_F(FaultTest, TruncatedSegmentIsRefusedAndNamed) {
  Start({OnSegment(FaultAction::kTruncate, 3)});
  PushBlock();
  Run();
  ASSERT_THAT(receiver_->Events<ChunkRejected>(), SizeIs(1));
  EXPECT_THAT(receiver_->Events<ChunkRejected>()[0].bad, ElementsAre(segments_[2]));
  EXPECT_EQ(receiver_->engine().counters()[SegmentRefusal::kWrongLength], 1u);
}

TEST_F(FaultTest, DelayedAndReorderedSegmentsStillLand) {
  Start({OnSegment(FaultAction::kDelay, 1), OnSegment(FaultAction::kReorder, 2)});
  PushBlock();
  Run(5);
  EXPECT_THAT(receiver_->Events<ChunkVerified>(), IsEmpty());
  Run();
  EXPECT_THAT(receiver_->Events<ChunkVerified>(), SizeIs(1));
  EXPECT_EQ(fault_->faults_injected(), 2u);
}

TEST_F(FaultTest, DuplicatedSegmentAndCommitCountOnce) {
  Start({OnSegment(FaultAction::kDuplicate, 2), OnControl(FaultAction::kDuplicate, 1)});
  PushBlock();
  Run();
  EXPECT_THAT(receiver_->Events<ChunkVerified>(), SizeIs(1));
  EXPECT_EQ(receiver_->engine().counters()[SegmentRefusal::kDuplicate], 1u);
  EXPECT_EQ(receiver_->engine().counters()[FenceReason::kDuplicate], 1u);
  EXPECT_THAT(sender_->Events<SegmentSent>(), SizeIs(3));
}

TEST_F(FaultTest, FailedSendIsTerminalAndTheCommitStaysHeld) {
  Start({OnSegment(FaultAction::kFail, 1)});
  PushBlock();
  Run();
  EXPECT_FALSE(sender_->Events<SegmentSent>()[0].ok);
  EXPECT_THAT(receiver_->Events<ChunkVerified>(), IsEmpty());
  EXPECT_THAT(receiver_->Events<ChunkRejected>(), IsEmpty());
}

TEST_F(FaultTest, SegmentThatVanishesEndsThePeerAtTheProgressLimit) {
  Start({OnSegment(FaultAction::kDrop, 2)});
  PushBlock();
  Run(900);
  EXPECT_THAT(sender_->Events<PeerDown>(), IsEmpty());
  Run(300);
  ASSERT_THAT(sender_->Events<PeerDown>(), SizeIs(1));
  EXPECT_THAT(sender_->Events<PeerDown>()[0].reason, HasSubstr("no progress"));
  EXPECT_THAT(sender_->Events<SegmentSent>(), SizeIs(3));
  EXPECT_EQ(sender_->engine().num_in_flight(), 0u);
  EXPECT_EQ(sender_->engine().counters().in_flight_of_ended_peers, 0u);
}

TEST_F(FaultTest, DamagedMessageEndsThePeer) {
  Start({OnControl(FaultAction::kTruncate, 1)});
  PushBlock();
  Run();
  ASSERT_THAT(receiver_->Events<PeerDown>(), SizeIs(1));
  EXPECT_THAT(receiver_->Events<PeerDown>()[0].reason, HasSubstr("Commit: "));
  EXPECT_EQ(receiver_->engine().counters()[FenceReason::kMalformed], 1u);
  EXPECT_THAT(sender_->Events<PeerDown>(), SizeIs(1));
}

TEST_F(FaultTest, StoppedPeerIsEndedAndQuiesceWaitsForPostedReceives) {
  Start({});
  receiver_->Do(OpenLanding{kGrant, sender_->id, 0, {BlockId(20)}}, clock_.Now());
  sender_->Do(PushSegment{PushId(1), receiver_->id, kGrant, {0, 0, 0, 1}, BlockId(1)},
              clock_.Now());
  receiver_->Poll(clock_.Now());  // posted, copied in the next poll only
  ASSERT_EQ(receiver_->engine().num_in_flight(), 1u);
  receiver_->Do(CloseLanding{kGrant}, clock_.Now());
  EXPECT_THAT(receiver_->Events<Quiesced>(), IsEmpty());
  receiver_->Poll(clock_.Now());
  EXPECT_THAT(receiver_->Events<Quiesced>(), SizeIs(1));

  fault_->set_stopped(true);
  receiver_->Do(PushSegment{PushId(9), sender_->id, kGrant, {0, 0, 0, 1}, BlockId(1)},
                clock_.Now());
  EXPECT_EQ(receiver_->engine().NextDeadline(), clock_.Now() + 1000 * kMs);
  for (int i = 0; i < 1100; ++i, clock_.Advance(kMs)) receiver_->Poll(clock_.Now());
  EXPECT_THAT(receiver_->Events<PeerDown>(), SizeIs(1));
  EXPECT_EQ(receiver_->engine().counters().stalled_peers, 1u);
}

TEST_F(FaultTest, RandomFaultsNeverVerifyDamagedBlocks) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    std::vector<FaultRule> rules;
    for (const FaultAction action :
         {FaultAction::kDelay, FaultAction::kDuplicate, FaultAction::kReorder,
          FaultAction::kFlipBit, FaultAction::kTruncate, FaultAction::kFail}) {
      rules.push_back({FaultRule::Target::kSegment, action, 0, 0.1, 7});
    }
    rules.push_back({FaultRule::Target::kControl, FaultAction::kDelay, 0, 0.3, 7});
    segments_.clear();
    Start(rules, seed);
    PushBlock();
    Run();
    EXPECT_EQ(sender_->Events<SegmentSent>().size(), kTestLayers) << "seed " << seed;
    EXPECT_LE(receiver_->Events<ChunkVerified>().size() + receiver_->Events<ChunkRejected>().size(),
              1u);
    if (receiver_->Events<ChunkVerified>().empty()) continue;
    for (uint32_t layer = 0; layer < kTestLayers; ++layer) {
      ASSERT_EQ(receiver_->memory.Block(layer, BlockId(20)),
                sender_->memory.Block(layer, BlockId(1)))
          << seed;
    }
  }
}

TEST_F(FaultTest, ConnectThatIsNeverAnsweredIsPeerDownAtItsDeadline) {
  hub_ = std::make_shared<LoopbackHub>();
  LoopbackTransport silent(hub_);  // nobody polls it
  EngineNode node(std::make_unique<LoopbackTransport>(hub_), TestOptions(101));
  node.Do(ConnectPeer{Incarnation(5), silent.LocalAddress()}, clock_.Now());
  for (int i = 0; i < 1100; ++i) node.Do(SendPeerMessage{Incarnation(5), Revoke{}}, clock_.Now());
  ASSERT_THAT(node.Events<PeerDown>(), SizeIs(1));  // too many held messages
  node.Do(ConnectPeer{Incarnation(6), silent.LocalAddress()}, clock_.Now());
  EXPECT_EQ(node.engine().NextDeadline(), clock_.Now() + 5000 * kMs);
  clock_.Advance(5000 * kMs);
  node.Poll(clock_.Now());
  ASSERT_THAT(node.Events<PeerDown>(), SizeIs(2));
  EXPECT_THAT(node.Events<PeerDown>()[1].reason, HasSubstr("no handshake"));
}

TEST_F(FaultTest, OfferForAnotherLifeIsAnsweredWithARefusal) {
  Start({});
  sender_->Do(SendPeerMessage{receiver_->id, Offer{Nonce{3, 4}, Incarnation(77), 1}}, clock_.Now());
  Run();
  EXPECT_THAT(receiver_->Events<PeerMessageReceived>(), IsEmpty());
  ASSERT_THAT(sender_->Messages<OfferRefused>(), SizeIs(1));
  EXPECT_THAT(sender_->Messages<OfferRefused>()[0].reason,
              AllOf(HasSubstr("202"), HasSubstr("77")));
}

TEST_F(FaultTest, PeerProcessDeathIsPeerDown) {
  Start({});
  sender_->Destroy();
  receiver_->Poll(clock_.Now());
  EXPECT_THAT(receiver_->Events<PeerDown>(), SizeIs(1));
}

}  // namespace
}  // namespace tandem
