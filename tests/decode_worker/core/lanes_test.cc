// What a request's lane and the batching window change on a decode worker.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/engine/admission.h"
#include "decode_worker/core/decode_core.h"
#include "tests/decode_worker/core/decode_rig.h"

namespace tandem {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

Generate Bulk(Generate generate) {
  generate.lane = Lane::kBulk;
  return generate;
}

std::vector<uint64_t> Keys(const StepPlan& plan) {
  std::vector<uint64_t> keys;
  for (const StepSequence& sequence : plan.sequences) keys.push_back(sequence.key.value());
  return keys;
}

TEST(DecodeLanesTest, InteractiveRequestGoesBeforeBulkOnesThatCameEarlier) {
  DecodeRig rig;
  rig.Send(Bulk(rig.NewGenerate(1, 200, 2)));
  rig.Send(Bulk(rig.NewGenerate(2, 200, 2)));
  rig.Send(rig.NewGenerate(3, 16, 2));
  rig.RunStep();  // was submitted when only the first was there
  rig.RunStep();
  EXPECT_THAT(Keys(rig.last_plan_), ElementsAre(1, 3));
  EXPECT_THAT(rig.Tokens(3), SizeIs(1));
}

TEST(DecodeLanesTest, BulkSequenceIsPreemptedBeforeYoungerInteractiveOnes) {
  DecodeCoreOptions options = DecodeRig::DefaultOptions();
  options.expected_output_tokens = 1;  // books too little on purpose
  DecodeRig rig(11, options);
  rig.Send(rig.NewGenerate(1, 40, 60));
  rig.Send(Bulk(rig.NewGenerate(2, 40, 60)));
  rig.Send(rig.NewGenerate(3, 40, 60));
  while (rig.core_.counters().preemptions == 0) rig.RunStep();
  rig.RunStep();
  EXPECT_THAT(Keys(rig.last_plan_), ElementsAre(1, 3));
  rig.RunUntilIdle();
  EXPECT_THAT(rig.Tokens(2), SizeIs(60));
}

class DecodeWindowTest : public testing::Test {
 protected:
  static DecodeCoreOptions Options() {
    DecodeCoreOptions options = DecodeRig::DefaultOptions();
    options.batch_window = milliseconds(20);
    return options;
  }

  void SendBulk(uint64_t id, uint32_t max_tokens = 3) {
    rig_.Send(Bulk(rig_.NewGenerate(id, 10, max_tokens)));
  }

  DecodeRig rig_{64, Options()};
};

TEST_F(DecodeWindowTest, BulkRequestsThatComeTogetherShareTheirFirstStep) {
  SendBulk(1);
  EXPECT_EQ(rig_.core_.NextDeadline(), rig_.now_ + milliseconds(20));
  rig_.Advance(milliseconds(15));
  SendBulk(2);
  EXPECT_THAT(rig_.effects_.steps, IsEmpty());
  rig_.Advance(milliseconds(5));
  ASSERT_THAT(rig_.effects_.steps, SizeIs(1));
  EXPECT_THAT(Keys(rig_.effects_.steps[0]), ElementsAre(1, 2));
}

TEST_F(DecodeWindowTest, OnlyTheFirstStepAfterAPauseWaits) {
  SendBulk(1);
  rig_.Advance(milliseconds(20));
  rig_.RunUntilIdle();  // time stands still: no step of these waits
  EXPECT_THAT(rig_.Tokens(1), SizeIs(3));
  EXPECT_GT(rig_.core_.NextDeadline(), rig_.now_ + milliseconds(20));
  SendBulk(2);
  EXPECT_THAT(rig_.effects_.steps, IsEmpty());
  EXPECT_EQ(rig_.core_.NextDeadline(), rig_.now_ + milliseconds(20));
}

TEST_F(DecodeWindowTest, InteractiveRequestEndsTheWaitOfBulkOnes) {
  SendBulk(1);
  rig_.Send(rig_.NewGenerate(2, 10, 3));
  ASSERT_THAT(rig_.effects_.steps, SizeIs(1));
  EXPECT_THAT(Keys(rig_.effects_.steps[0]), ElementsAre(1, 2));
}

TEST_F(DecodeWindowTest, InteractiveRequestDoesNotWait) {
  rig_.Send(rig_.NewGenerate(1, 10, 3));
  EXPECT_THAT(rig_.effects_.steps, SizeIs(1));
}

TEST_F(DecodeWindowTest, CancelledRequestLeavesNothingBehind) {
  SendBulk(1);
  rig_.Send(Cancel{RequestId(1), 1});
  rig_.Advance(milliseconds(20));
  EXPECT_THAT(rig_.effects_.steps, IsEmpty());
  EXPECT_TRUE(rig_.OnlyFreeAndCachedRemain());
}

// A bulk request that lost its filler, so that its old landing is in quarantine, and fills itself
// now, and a younger one with an offer: there is room for either.
class OfferBehindATakeoverTest : public testing::Test {
 protected:
  static DecodeCoreOptions Options() {
    DecodeCoreOptions options = DecodeRig::DefaultOptions();
    options.expected_output_tokens = 1;
    options.step_limits.max_prefill_tokens = 64;  // one prompt does not fill a step
    options.batch_window = milliseconds(20);
    return options;
  }

  void SendBoth(Lane younger) {
    rig_.Send(Bulk(rig_.NewGenerate(1, 60, 1, DecodeRig::Assignment(1))));
    lost_ = rig_.OfferAndTakeGrant(1, 3).grant;
    Generate second = rig_.NewGenerate(2, 60, 1, DecodeRig::Assignment(2));
    second.lane = younger;
    rig_.Send(second);
    rig_.FromPeer(Abandon{Nonce{9, 1}, "gone"});
    rig_.Send(Assign{RequestId(1), 1, std::nullopt});
    ASSERT_THAT(rig_.effects_.steps, IsEmpty());  // it waits for company
    rig_.Forget();
    rig_.FromPeer(Offer{Nonce{9, 2}, kDecodeLife, 3});
  }

  GrantId lost_;
  DecodeRig rig_{8, Options()};
};

TEST_F(OfferBehindATakeoverTest, BulkOfferDoesNotOvertakeTheOlderOneThatGathers) {
  ASSERT_NO_FATAL_FAILURE(SendBoth(Lane::kBulk));
  EXPECT_FALSE(rig_.LastPeerMessage<Grant>());
  rig_.Advance(milliseconds(20));
  ASSERT_THAT(rig_.effects_.steps, SizeIs(1));
  EXPECT_THAT(rig_.effects_.steps[0].sequences[0].tokens, SizeIs(60));
  EXPECT_FALSE(rig_.LastPeerMessage<Grant>());
  rig_.Deliver(TransferEvent(Quiesced{lost_}));
  EXPECT_TRUE(rig_.LastPeerMessage<Grant>());
}

TEST_F(OfferBehindATakeoverTest, InteractiveOfferDoes) {
  ASSERT_NO_FATAL_FAILURE(SendBoth(Lane::kInteractive));
  EXPECT_TRUE(rig_.LastPeerMessage<Grant>());
}

// A bulk and then an interactive request whose offers wait: a third one has grown into their room.
class WaitingOffersTest : public testing::Test {
 protected:
  static DecodeCoreOptions Options() {
    DecodeCoreOptions options = DecodeRig::DefaultOptions();
    options.expected_output_tokens = 1;  // so that the third request outgrows its booking
    return options;
  }

  void SetUp() override {
    rig_.Send(rig_.NewGenerate(3, 70, 90));
    rig_.Send(Bulk(rig_.NewGenerate(1, 60, 3, DecodeRig::Assignment(1))));
    rig_.Send(rig_.NewGenerate(2, 60, 3, DecodeRig::Assignment(2)));
    for (int i = 0; i < 85; ++i) rig_.RunStep();  // ten of thirteen blocks are taken
    for (const uint64_t id : {1, 2}) rig_.FromPeer(Offer{Nonce{9, id}, kDecodeLife, 3});
    ASSERT_THAT(Granted(), IsEmpty());
  }

  // The requests in the order of their grants.
  std::vector<uint64_t> Granted() const {
    std::vector<uint64_t> ids;
    for (const SendPeerMessage& sent : rig_.Commands<SendPeerMessage>()) {
      if (const auto* grant = std::get_if<Grant>(&sent.message)) ids.push_back(grant->nonce.low);
    }
    return ids;
  }

  DecodeRig rig_{13, Options()};
};

TEST_F(WaitingOffersTest, TheInteractiveRequestsIsGrantedFirst) {
  rig_.RunUntilIdle();
  EXPECT_THAT(Granted(), ElementsAre(2, 1));
}

TEST_F(WaitingOffersTest, PatienceOfABulkRequestHasAnEnd) {
  rig_.Advance(kBulkPatience);
  rig_.RunUntilIdle();
  EXPECT_THAT(Granted(), ElementsAre(1, 2));
}

}  // namespace
}  // namespace tandem
