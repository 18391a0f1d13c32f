// The decode worker's side of a push: who may fill, what a loss costs, and that every block is
// accounted for.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/decode_worker/core/decode_rig.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr uint32_t kPromptSize = 70;  // four full blocks, then six tokens of its own
constexpr uint32_t kBlocks = 4;

class LandingTest : public ::testing::Test {
 protected:
  void SetUp() override {
    rig_.Send(rig_.NewGenerate(1, kPromptSize, 3, DecodeRig::Assignment(1)));
  }
  // Everything that was revoked becomes free again only by Quiesced.
  void Quiesce() {
    for (const CloseLanding& close : rig_.Commands<CloseLanding>()) {
      rig_.Deliver(TransferEvent(Quiesced{close.grant}));
    }
  }
  void ExpectFinishes() {
    rig_.RunUntilIdle();
    EXPECT_THAT(rig_.Tokens(1), ElementsAre(10, 11, 12));
    Quiesce();
    EXPECT_TRUE(rig_.OnlyFreeAndCachedRemain());
  }
  DecodeRig rig_;
};

TEST_F(LandingTest, WaitsForItsFillerThenRunsOnlyTheRest) {
  EXPECT_FALSE(rig_.RunStep());
  const Grant grant = rig_.OfferAndTakeGrant(1, kBlocks);
  EXPECT_EQ(grant.first_block, 0u);
  EXPECT_THAT(grant.run_lengths, ElementsAre(kBlocks));
  ASSERT_THAT(rig_.Commands<OpenLanding>(), SizeIs(1));
  EXPECT_THAT(rig_.Commands<OpenLanding>()[0].blocks, SizeIs(kBlocks));
  rig_.Land(grant, 0, 2);
  EXPECT_FALSE(rig_.RunStep());
  rig_.Land(grant, 2, 2);
  EXPECT_THAT(rig_.LastPeerMessage<CommitAck>()->bad, IsEmpty());
  ASSERT_TRUE(rig_.RunStep());
  EXPECT_EQ(rig_.last_plan_.sequences[0].start, 64u);
  EXPECT_THAT(rig_.last_plan_.sequences[0].tokens, SizeIs(6));
  ExpectFinishes();
}

TEST_F(LandingTest, ChunksOutOfOrderLandTogether) {
  const Grant grant = rig_.OfferAndTakeGrant(1, kBlocks);
  rig_.Land(grant, 2, 2);
  EXPECT_FALSE(rig_.RunStep());
  rig_.Land(grant, 0, 2);
  ExpectFinishes();
  EXPECT_EQ(rig_.core_.counters().computed_prompt_tokens, 6u);
}

TEST_F(LandingTest, RepeatedOfferGetsTheSameGrant) {
  const Grant first = rig_.OfferAndTakeGrant(1, kBlocks);
  const Grant second = rig_.OfferAndTakeGrant(1, kBlocks);
  EXPECT_EQ(first.grant, second.grant);
  EXPECT_THAT(rig_.Commands<OpenLanding>(), SizeIs(1));
}

TEST_F(LandingTest, OffersWithoutTheRightAreRefused) {
  rig_.FromPeer(Offer{Nonce{1, 2}, kDecodeLife, kBlocks});                     // unknown nonce
  rig_.FromPeer(Offer{Nonce{9, 1}, Incarnation(8), kBlocks});                  // an earlier life
  rig_.FromPeer(Offer{Nonce{9, 1}, kDecodeLife, kBlocks}, kOtherPrefillLife);  // another worker
  rig_.FromPeer(Offer{Nonce{9, 1}, kDecodeLife, kBlocks + 1});                 // another size
  rig_.Advance(EarlyOffers::kHoldLimit);
  EXPECT_THAT(rig_.Commands<OpenLanding>(), IsEmpty());
  EXPECT_EQ(rig_.core_.counters().stale_messages, 4u);
}

TEST_F(LandingTest, OfferThatOvertookItsAssignIsGrantedWhenThatComes) {
  rig_.Deliver(TransferEvent(PeerDown{kPrefillLife, "killed"}));
  rig_.FromPeer(Offer{Nonce{9, 2}, kDecodeLife, kBlocks}, kOtherPrefillLife);
  EXPECT_LE(rig_.core_.NextDeadline(), rig_.now_ + EarlyOffers::kHoldLimit);
  rig_.Advance(EarlyOffers::kHoldLimit / 2);
  rig_.Send(Assign{RequestId(1), 1, DecodeRig::Assignment(2, kOtherPrefillLife)});
  const auto grant = rig_.LastPeerMessage<Grant>();
  ASSERT_TRUE(grant.has_value());
  EXPECT_EQ(rig_.core_.counters().stale_messages, 0u);
  rig_.Land(*grant, 0, kBlocks);
  ExpectFinishes();
}

TEST_F(LandingTest, OfferThatIsTakenBackOrWhosePeerDiesIsHeldNoLonger) {
  rig_.FromPeer(Offer{Nonce{9, 2}, kDecodeLife, kBlocks}, kOtherPrefillLife);
  rig_.FromPeer(Abandon{Nonce{9, 2}, "test"}, kOtherPrefillLife);
  rig_.FromPeer(Offer{Nonce{9, 3}, kDecodeLife, kBlocks}, kOtherPrefillLife);
  rig_.Deliver(TransferEvent(PeerDown{kOtherPrefillLife, "killed"}));
  rig_.Send(Assign{RequestId(1), 1, DecodeRig::Assignment(2, kOtherPrefillLife)});
  rig_.Send(Assign{RequestId(1), 1, DecodeRig::Assignment(3, kOtherPrefillLife)});
  rig_.Advance(EarlyOffers::kHoldLimit);
  EXPECT_THAT(rig_.Commands<OpenLanding>(), IsEmpty());
  EXPECT_FALSE(rig_.LastPeerMessage<OfferRefused>().has_value());
}

TEST_F(LandingTest, OfOffersUnderUnknownNoncesTheOldestGoWhenThereAreTooMany) {
  for (uint64_t i = 0; i <= EarlyOffers::kMaxHeld; ++i) {
    EXPECT_FALSE(rig_.LastPeerMessage<OfferRefused>().has_value());
    rig_.FromPeer(Offer{Nonce{5, i}, kDecodeLife, kBlocks});
  }
  ASSERT_TRUE(rig_.LastPeerMessage<OfferRefused>().has_value());
  EXPECT_EQ(rig_.LastPeerMessage<OfferRefused>()->nonce, (Nonce{5, 0}));
}

TEST_F(LandingTest, DeadPrefillWorkerCostsOnlyWhatWasNotCommitted) {
  const Grant grant = rig_.OfferAndTakeGrant(1, kBlocks);
  rig_.Land(grant, 0, 2);
  rig_.Deliver(TransferEvent(PeerDown{kPrefillLife, "killed"}));
  ASSERT_THAT(rig_.Sent<FillLost>(), SizeIs(1));
  EXPECT_FALSE(rig_.Sent<FillLost>()[0].filling_itself);
  EXPECT_EQ(rig_.cache_.pool().count(BlockState::kQuarantined), 2u);
  EXPECT_FALSE(rig_.RunStep());  // the router decides who goes on

  rig_.Send(Assign{RequestId(1), 1, DecodeRig::Assignment(2, kOtherPrefillLife)});
  const Grant next = rig_.OfferAndTakeGrant(2, kBlocks, kOtherPrefillLife);
  EXPECT_EQ(next.first_block, 2u);
  rig_.Land(next, 2, 2);
  ExpectFinishes();
  EXPECT_EQ(rig_.core_.counters().computed_prompt_tokens, 6u);
}

TEST_F(LandingTest, OrderToFillItselfRevokesAndUsesOtherBlocks) {
  const Grant grant = rig_.OfferAndTakeGrant(1, kBlocks);
  rig_.Send(Assign{RequestId(1), 1, std::nullopt});
  EXPECT_EQ(rig_.LastPeerMessage<Revoke>()->nonce, (Nonce{9, 1}));
  EXPECT_EQ(rig_.cache_.pool().count(BlockState::kQuarantined), kBlocks);
  rig_.Land(grant, 0, kBlocks);  // too late: it lands nowhere
  EXPECT_EQ(rig_.core_.counters().landed_tokens, 0u);
  ExpectFinishes();
  EXPECT_EQ(rig_.core_.counters().computed_prompt_tokens, kPromptSize);
}

TEST_F(LandingTest, SilentFillerIsReplacedByThisWorkerAndThatIsFinal) {
  rig_.OfferAndTakeGrant(1, kBlocks);
  rig_.Advance(std::chrono::seconds(6));
  ASSERT_THAT(rig_.Sent<FillLost>(), SizeIs(1));
  EXPECT_TRUE(rig_.Sent<FillLost>()[0].filling_itself);
  rig_.Send(Assign{RequestId(1), 1, DecodeRig::Assignment(2, kOtherPrefillLife)});
  EXPECT_TRUE(rig_.Sent<FillLost>().back().filling_itself);
  ExpectFinishes();
}

TEST_F(LandingTest, DamagedChunkIsNamedAndEndsTheAttempt) {
  const Grant grant = rig_.OfferAndTakeGrant(1, kBlocks);
  rig_.Deliver(TransferEvent(ChunkRejected{grant.grant, 0, 2, {{0, 3, 0, 2}}, "checksum"}));
  EXPECT_THAT(rig_.LastPeerMessage<CommitAck>()->bad, SizeIs(1));
  EXPECT_THAT(rig_.Sent<FillLost>(), SizeIs(1));
  rig_.Send(Assign{RequestId(1), 1, std::nullopt});
  ExpectFinishes();
}

TEST_F(LandingTest, AbandonEndsTheAttempt) {
  rig_.OfferAndTakeGrant(1, kBlocks);
  rig_.FromPeer(Abandon{Nonce{9, 1}, "deadline"});
  EXPECT_THAT(rig_.Sent<FillLost>(), SizeIs(1));
  rig_.Send(Assign{RequestId(1), 1, std::nullopt});
  ExpectFinishes();
}

TEST_F(LandingTest, CancelQuarantinesLandingBlocksUntilTheyAreQuiet) {
  rig_.OfferAndTakeGrant(1, kBlocks);
  rig_.Send(Cancel{RequestId(1), 1});
  EXPECT_FALSE(rig_.core_.idle());
  EXPECT_EQ(rig_.cache_.pool().count(BlockState::kQuarantined), kBlocks);
  rig_.Advance(std::chrono::milliseconds(70));
  Quiesce();
  EXPECT_TRUE(rig_.OnlyFreeAndCachedRemain());
  EXPECT_THAT(rig_.core_.TakeCancelToFree(), ElementsAre(std::chrono::milliseconds(70)));
}

TEST_F(LandingTest, OfferWaitsForRoomWithoutLosingItsLease) {
  DecodeCoreOptions options = DecodeRig::DefaultOptions();
  options.expected_output_tokens = 1;  // so that the first request outgrows its booking
  DecodeRig rig(12, options);
  rig.Send(rig.NewGenerate(2, 70, 90));
  rig.Send(rig.NewGenerate(1, 60, 3, DecodeRig::Assignment(1)));
  for (int i = 0; i < 70; ++i) rig.RunStep();  // nine of twelve blocks are taken
  rig.FromPeer(Offer{Nonce{9, 1}, kDecodeLife, 3});
  rig.Advance(std::chrono::seconds(20));
  EXPECT_THAT(rig.Sent<FillLost>(), IsEmpty());
  EXPECT_FALSE(rig.LastPeerMessage<Grant>().has_value());
  rig.RunUntilIdle();
  EXPECT_THAT(rig.Tokens(2), SizeIs(90));
  EXPECT_TRUE(rig.LastPeerMessage<Grant>().has_value());
}

// The pool holds this one sequence and no more.
TEST_F(LandingTest, BlocksBehindAGapDoNotKeepTheNextAttemptWaiting) {
  DecodeRig rig(5);
  rig.Send(rig.NewGenerate(1, kPromptSize, 3, DecodeRig::Assignment(1)));
  const Grant lost = rig.OfferAndTakeGrant(1, kBlocks);
  rig.Land(lost, 2, 2);
  rig.FromPeer(Abandon{Nonce{9, 1}, "no reason"});
  rig.Deliver(TransferEvent(Quiesced{lost.grant}));
  rig.Send(Assign{RequestId(1), 1, DecodeRig::Assignment(2)});
  const Grant grant = rig.OfferAndTakeGrant(2, kBlocks);
  EXPECT_EQ(grant.nonce, (Nonce{9, 2}));
  EXPECT_THAT(grant.run_lengths, ElementsAre(kBlocks));
}

TEST_F(LandingTest, OldestOfferIsGrantedThoughYoungerSequencesMayGrow) {
  DecodeRig rig(8);
  rig.Send(rig.NewGenerate(1, kPromptSize, 3, DecodeRig::Assignment(1)));
  rig.Send(rig.NewGenerate(2, 10, 5));
  rig.Send(rig.NewGenerate(3, 10, 5));
  rig.RunStep();
  rig.FromPeer(Offer{Nonce{9, 1}, kDecodeLife, kBlocks});
  EXPECT_TRUE(rig.LastPeerMessage<Grant>().has_value());
}

// Both outgrew what was booked; the younger one waits for room and holds what landed of its prompt.
TEST_F(LandingTest, WaitingSequenceGivesItsBlocksToTheGrowthOfAnOlderOne) {
  DecodeCoreOptions options = DecodeRig::DefaultOptions();
  options.expected_output_tokens = 1;
  DecodeRig rig(9, options);
  rig.Send(rig.NewGenerate(2, 16, 120));
  rig.Send(rig.NewGenerate(1, kPromptSize, 3, DecodeRig::Assignment(1)));
  const Grant lost = rig.OfferAndTakeGrant(1, kBlocks);
  rig.Land(lost, 0, 2);
  rig.FromPeer(Abandon{Nonce{9, 1}, "no reason"});
  rig.Deliver(TransferEvent(Quiesced{lost.grant}));
  rig.Send(Assign{RequestId(1), 1, DecodeRig::Assignment(2)});
  for (int i = 0; i < 80; ++i) rig.RunStep();
  rig.FromPeer(Offer{Nonce{9, 2}, kDecodeLife, kBlocks});
  rig.RunUntilIdle();
  EXPECT_THAT(rig.Tokens(2), SizeIs(120));
  EXPECT_EQ(rig.LastPeerMessage<Grant>()->nonce, (Nonce{9, 2}));
}

TEST_F(LandingTest, WholePromptInTheCacheNeedsNoPush) {
  const Grant grant = rig_.OfferAndTakeGrant(1, kBlocks);
  rig_.Land(grant, 0, kBlocks);
  rig_.RunUntilIdle();
  Generate again = rig_.NewGenerate(1, kPromptSize, 3, DecodeRig::Assignment(2));
  again.epoch = 2;
  rig_.Send(again);
  EXPECT_EQ(rig_.Sent<Booked>().back().cached_tokens, kBlocks * 16);
  const Grant empty = rig_.OfferAndTakeGrant(2, kBlocks);
  EXPECT_EQ(empty.first_block, kBlocks);
  EXPECT_THAT(empty.run_lengths, IsEmpty());
  rig_.RunUntilIdle();
  Quiesce();
  EXPECT_TRUE(rig_.OnlyFreeAndCachedRemain());
}

}  // namespace
}  // namespace tandem
