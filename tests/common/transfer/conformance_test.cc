// What every KvTransport must do, seen through two transfer engines.
#include "tests/common/transfer/conformance.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/common/transfer/engine_node.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class TransferConformance : public ::testing::Test {
 protected:
  TransferConformance() : TransferConformance(TestOptions(101), TestOptions(202)) {}
  TransferConformance(TransferEngineOptions sender, TransferEngineOptions receiver,
                      size_t block_bytes = 12288) {
    auto [a, b] = MakeTransportPair();
    sender_ = std::make_unique<EngineNode>(std::move(a), std::move(sender), block_bytes);
    receiver_ = std::make_unique<EngineNode>(std::move(b), std::move(receiver), block_bytes);
  }

  EngineNode& sender() { return *sender_; }
  EngineNode& receiver() { return *receiver_; }
  bool Run(const std::function<bool()>& done) { return RunUntil(*sender_, *receiver_, done); }

  void Connect() {
    sender().Do(ConnectPeer{receiver().id, receiver().address()});
    ASSERT_TRUE(Run([this] {
      return !sender().Events<PeerUp>().empty() && !receiver().Events<PeerUp>().empty();
    }));
  }
  // Logical blocks 4.. go to the given physical blocks of the receiver.
  void Open(GrantId grant, std::vector<BlockId> blocks) {
    receiver().Do(OpenLanding{grant, sender().id, 4, std::move(blocks)});
  }
  void Push(uint64_t id, GrantId grant, SegmentId segment, BlockId source) {
    sender().Do(PushSegment{PushId(id), receiver().id, grant, segment, source});
  }
  void SendCommit(GrantId grant, uint32_t first, uint32_t count, std::vector<SegmentId> segments) {
    sender().Do(SendPeerMessage{receiver().id, Commit{grant, first, count, std::move(segments)}});
  }
  bool Equal(BlockId source, BlockId landed) {
    for (uint32_t layer = 0; layer < kTestLayers; ++layer) {
      if (sender().memory.Block(layer, source) != receiver().memory.Block(layer, landed))
        return false;
    }
    return true;
  }

 private:
  std::unique_ptr<EngineNode> sender_;
  std::unique_ptr<EngineNode> receiver_;
};

constexpr GrantId kGrant{7};

TEST_F(TransferConformance, BothSidesSeeThePeerUpAndNameTheLanes) {
  Connect();
  EXPECT_EQ(sender().Events<PeerUp>()[0].peer, receiver().id);
  EXPECT_EQ(receiver().Events<PeerUp>()[0].peer, sender().id);
  for (EngineNode* side : {&sender(), &receiver()}) {
    ASSERT_FALSE(side->log.empty());
    EXPECT_THAT(side->log.back(), HasSubstr(ExpectedLane()));
  }
}

TEST_F(TransferConformance, MessagesOfEveryKindArriveWhole) {
  Connect();
  const Nonce nonce{11, 22};
  sender().Do(SendPeerMessage{receiver().id, Offer{nonce, receiver().id, 9}});
  sender().Do(SendPeerMessage{receiver().id, Abandon{nonce, "changed my mind"}});
  Grant grant{nonce, kGrant, 4, std::vector<uint32_t>(20000, 3)};
  receiver().Do(SendPeerMessage{sender().id, grant});
  receiver().Do(SendPeerMessage{sender().id, Revoke{nonce, "taken back"}});
  receiver().Do(SendPeerMessage{sender().id, CommitAck{kGrant, 4, 2, {SegmentId{0, 1, 4, 2}}}});
  ASSERT_TRUE(Run([this] {
    return receiver().Events<PeerMessageReceived>().size() == 2 &&
           sender().Events<PeerMessageReceived>().size() == 3;
  }));
  EXPECT_EQ(receiver().Messages<Offer>().at(0).num_blocks, 9u);
  EXPECT_EQ(receiver().Messages<Abandon>().at(0).reason, "changed my mind");
  EXPECT_EQ(sender().Messages<Grant>().at(0).run_lengths, grant.run_lengths);
  EXPECT_EQ(sender().Messages<CommitAck>().at(0).bad, (std::vector{SegmentId{0, 1, 4, 2}}));
}

TEST_F(TransferConformance, MessagesBeforeTheHandshakeWaitForIt) {
  sender().Do(ConnectPeer{receiver().id, receiver().address()});
  sender().Do(SendPeerMessage{receiver().id, Offer{Nonce{1, 1}, receiver().id, 1}});
  EXPECT_TRUE(Run([this] { return receiver().Messages<Offer>().size() == 1; }));
}

TEST_F(TransferConformance, PushedChunkArrivesByteForByteAndIsVerified) {
  Connect();
  Open(kGrant, {BlockId(20), BlockId(21), BlockId(9)});  // two runs
  uint64_t push = 0;
  std::vector<SegmentId> segments;
  for (uint16_t layer = 0; layer < kTestLayers; ++layer) {
    segments.push_back(SegmentId{0, layer, 4, 2});
    Push(++push, kGrant, segments.back(), BlockId(1));
    segments.push_back(SegmentId{0, layer, 6, 1});
    Push(++push, kGrant, segments.back(), BlockId(3));
  }
  SendCommit(kGrant, 4, 3, segments);
  ASSERT_TRUE(Run([this] {
    return receiver().Events<ChunkVerified>().size() == 1 &&
           sender().Events<SegmentSent>().size() == 6;
  }));
  for (const SegmentSent& sent : sender().Events<SegmentSent>()) EXPECT_TRUE(sent.ok);
  EXPECT_EQ(receiver().Events<ChunkVerified>()[0].bytes,
            3 * kTestLayers * receiver().memory.block_bytes());
  EXPECT_TRUE(Equal(BlockId(1), BlockId(20)));
  EXPECT_TRUE(Equal(BlockId(2), BlockId(21)));
  EXPECT_TRUE(Equal(BlockId(3), BlockId(9)));
  EXPECT_FALSE(Equal(BlockId(4), BlockId(22)));  // nothing else was written
  EXPECT_EQ(sender().engine().counters().bytes_sent, receiver().engine().counters().bytes_received);
  EXPECT_EQ(receiver().engine().num_in_flight(), 0u);
}

TEST_F(TransferConformance, CommitThatOvertakesItsSegmentsIsHeld) {
  Connect();
  Open(kGrant, {BlockId(20)});
  std::vector<SegmentId> segments;
  for (uint16_t layer = 0; layer < kTestLayers; ++layer) segments.push_back({0, layer, 4, 1});
  SendCommit(kGrant, 4, 1, segments);
  Push(1, kGrant, segments[0], BlockId(1));
  Push(2, kGrant, segments[1], BlockId(1));
  ASSERT_TRUE(Run([this] { return sender().Events<SegmentSent>().size() == 2; }));
  EXPECT_THAT(receiver().Events<ChunkVerified>(), IsEmpty());
  Push(3, kGrant, segments[2], BlockId(1));
  ASSERT_TRUE(Run([this] { return receiver().Events<ChunkVerified>().size() == 1; }));
  EXPECT_TRUE(Equal(BlockId(1), BlockId(20)));
}

TEST_F(TransferConformance, SegmentOfAnUnknownGrantIsRefusedAndTheSenderHears) {
  Connect();
  Push(1, GrantId(99), {0, 0, 4, 1}, BlockId(1));
  ASSERT_TRUE(Run([this] { return sender().Events<SegmentSent>().size() == 1; }));
  EXPECT_FALSE(sender().Events<SegmentSent>()[0].ok);
  EXPECT_EQ(receiver().engine().counters()[SegmentRefusal::kUnknownGrant], 1u);
  EXPECT_THAT(sender().Events<PeerDown>(), IsEmpty());
}

TEST_F(TransferConformance, DuplicateSegmentIsRefusedAndTheFirstStays) {
  Connect();
  Open(kGrant, {BlockId(20)});
  Push(1, kGrant, {0, 0, 4, 1}, BlockId(1));
  ASSERT_TRUE(Run([this] { return sender().Events<SegmentSent>().size() == 1; }));
  Push(2, kGrant, {0, 0, 4, 1}, BlockId(2));
  ASSERT_TRUE(Run([this] { return sender().Events<SegmentSent>().size() == 2; }));
  EXPECT_FALSE(sender().Events<SegmentSent>()[1].ok);
  EXPECT_EQ(receiver().engine().counters()[SegmentRefusal::kDuplicate], 1u);
  EXPECT_EQ(receiver().memory.Block(0, BlockId(20)), sender().memory.Block(0, BlockId(1)));
}

TEST_F(TransferConformance, ClosedGrantRefusesLateSegmentsAndIsQuiescedOnce) {
  Connect();
  Open(kGrant, {BlockId(20), BlockId(21)});
  Push(1, kGrant, {0, 0, 4, 1}, BlockId(1));
  ASSERT_TRUE(Run([this] { return sender().Events<SegmentSent>().size() == 1; }));
  receiver().Do(CloseLanding{kGrant});
  ASSERT_TRUE(Run([this] { return receiver().Events<Quiesced>().size() == 1; }));
  Push(2, kGrant, {0, 1, 4, 1}, BlockId(1));
  SendCommit(kGrant, 4, 1, {{0, 0, 4, 1}, {0, 1, 4, 1}, {0, 2, 4, 1}});
  ASSERT_TRUE(Run([this] {
    return sender().Events<SegmentSent>().size() == 2 &&
           receiver().engine().counters()[FenceReason::kUnknownGrant] == 1;
  }));
  EXPECT_FALSE(sender().Events<SegmentSent>()[1].ok);
  EXPECT_NE(receiver().memory.Block(1, BlockId(20)), sender().memory.Block(1, BlockId(1)));
  EXPECT_THAT(receiver().Events<Quiesced>(), SizeIs(1));
  EXPECT_THAT(receiver().Events<ChunkVerified>(), IsEmpty());
}

TEST_F(TransferConformance, ManyPushesBeyondTheWindowAllArrive) {
  Connect();
  std::vector<BlockId> blocks;
  for (uint32_t i = 0; i < kTestBlocks; ++i) blocks.push_back(BlockId(i));
  Open(kGrant, blocks);
  uint64_t push = 0;
  std::vector<SegmentId> segments;
  for (uint16_t layer = 0; layer < kTestLayers; ++layer) {
    for (uint32_t i = 0; i < kTestBlocks; ++i) {
      segments.push_back({0, layer, 4 + i, 1});
      Push(++push, kGrant, segments.back(), BlockId(i));
    }
  }
  SendCommit(kGrant, 4, kTestBlocks, segments);
  ASSERT_TRUE(Run([this] { return receiver().Events<ChunkVerified>().size() == 1; }));
  for (uint32_t i = 0; i < kTestBlocks; ++i) EXPECT_TRUE(Equal(BlockId(i), BlockId(i)));
}

TEST_F(TransferConformance, RolesAreSymmetric) {
  Connect();
  sender().Do(OpenLanding{kGrant, receiver().id, 0, {BlockId(5)}});
  std::vector<SegmentId> segments;
  for (uint16_t layer = 0; layer < kTestLayers; ++layer) {
    segments.push_back({0, layer, 0, 1});
    receiver().Do(PushSegment{PushId(layer + 1), sender().id, kGrant, segments.back(), BlockId(6)});
  }
  receiver().Do(SendPeerMessage{sender().id, Commit{kGrant, 0, 1, segments}});
  ASSERT_TRUE(Run([this] { return sender().Events<ChunkVerified>().size() == 1; }));
  EXPECT_TRUE(Equal(BlockId(5), BlockId(6)));
}

TEST_F(TransferConformance, BothConnectingAtOnceEndUpWithOneLivePeerEach) {
  sender().Do(ConnectPeer{receiver().id, receiver().address()});
  receiver().Do(ConnectPeer{sender().id, sender().address()});
  ASSERT_TRUE(Run([this] {
    return !sender().Events<PeerUp>().empty() && !receiver().Events<PeerUp>().empty();
  }));
  sender().Do(SendPeerMessage{receiver().id, Offer{Nonce{1, 1}, receiver().id, 1}});
  receiver().Do(SendPeerMessage{sender().id, Offer{Nonce{2, 2}, sender().id, 1}});
  ASSERT_TRUE(Run([this] {
    return sender().Messages<Offer>().size() == 1 && receiver().Messages<Offer>().size() == 1;
  }));
  EXPECT_THAT(sender().Events<PeerUp>(), SizeIs(1));
  EXPECT_THAT(receiver().Events<PeerUp>(), SizeIs(1));
  EXPECT_THAT(sender().Events<PeerDown>(), IsEmpty());
}

TEST_F(TransferConformance, EndedPeerIsDownAtBothSidesAndPushesAreTerminal) {
  Connect();
  Open(kGrant, {BlockId(20)});
  Push(1, kGrant, {0, 0, 4, 1}, BlockId(1));
  receiver().engine().EndAllPeers("shutting down");
  ASSERT_TRUE(Run([this] {
    return sender().Events<PeerDown>().size() == 1 && sender().Events<SegmentSent>().size() == 1 &&
           receiver().engine().num_in_flight() == 0;
  }));
  Push(2, kGrant, {0, 1, 4, 1}, BlockId(1));
  EXPECT_FALSE(sender().Events<SegmentSent>().at(1).ok);  // at once
  receiver().Do(CloseLanding{kGrant});
  EXPECT_THAT(receiver().Events<Quiesced>(), SizeIs(1));
}

TEST_F(TransferConformance, PeerCanConnectAnewAfterItEnded) {
  Connect();
  receiver().engine().EndAllPeers("restarting the link");
  ASSERT_TRUE(Run([this] { return sender().Events<PeerDown>().size() == 1; }));
  sender().Do(ConnectPeer{receiver().id, receiver().address()});
  EXPECT_TRUE(Run([this] {
    return sender().Events<PeerUp>().size() == 2 && receiver().Events<PeerUp>().size() == 2;
  }));
}

TEST_F(TransferConformance, UnexpectedIncarnationIsRefusedWithBothValues) {
  sender().Do(ConnectPeer{Incarnation(999), receiver().address()});
  ASSERT_TRUE(Run([this] {
    return sender().Events<PeerDown>().size() == 1 && receiver().Events<PeerDown>().size() == 1;
  }));
  EXPECT_THAT(sender().Events<PeerDown>()[0].reason, AllOf(HasSubstr("999"), HasSubstr("202")));
  EXPECT_THAT(sender().Events<PeerUp>(), IsEmpty());
}

TEST_F(TransferConformance, AddressOfNobodyIsPeerDown) {
  sender().Do(ConnectPeer{Incarnation(999), "nonsense"});
  ASSERT_TRUE(Run([this] { return sender().Events<PeerDown>().size() == 1; }));
}

class MismatchedConformance : public TransferConformance {
 protected:
  static TransferEngineOptions OtherModel() {
    TransferEngineOptions options = TestOptions(202);
    options.handshake.kv.model_fingerprint = "model-b";
    return options;
  }
  MismatchedConformance() : TransferConformance(TestOptions(101), OtherModel()) {}
};

TEST_F(MismatchedConformance, PairIsRefusedWithBothValuesNamed) {
  sender().Do(ConnectPeer{receiver().id, receiver().address()});
  ASSERT_TRUE(Run([this] { return sender().Events<PeerDown>().size() == 1; }));
  EXPECT_THAT(sender().Events<PeerDown>()[0].reason,
              AllOf(HasSubstr("model_fingerprint"), HasSubstr("model-a"), HasSubstr("model-b")));
  EXPECT_THAT(receiver().Events<PeerUp>(), IsEmpty());
  EXPECT_EQ(receiver().engine().counters()[FenceReason::kMismatch], 1u);
}

}  // namespace
}  // namespace tandem
