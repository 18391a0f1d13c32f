#include "common/engine/batch_window.h"

#include <gtest/gtest.h>

namespace tandem {
namespace {

using std::chrono::milliseconds;

constexpr StepLimits kLimits = {
    .max_batch_tokens = 100, .max_prefill_tokens = 64, .max_sequences = 4};
constexpr bool kIdle = false;
constexpr bool kBusy = true;

RunnableSequence Waiting(uint64_t key, uint32_t tokens, Lane lane = Lane::kBulk) {
  return {.key = SequenceKey(key), .computed = 0, .total = tokens, .age_rank = key, .lane = lane};
}

class BatchWindowTest : public testing::Test {
 protected:
  bool Opens(std::vector<RunnableSequence> runnable, bool busy = kIdle) {
    return window_.Opens(runnable, kLimits, busy, now_);
  }

  Instant now_{std::chrono::hours(1)};
  BatchWindow window_{milliseconds(20)};
};

TEST_F(BatchWindowTest, BulkWorkAfterAPauseWaitsForTheWindowsTime) {
  EXPECT_EQ(window_.deadline(), kNever);
  EXPECT_FALSE(Opens({Waiting(1, 20)}));
  EXPECT_EQ(window_.deadline(), now_ + milliseconds(20));
  now_ += milliseconds(19);
  EXPECT_FALSE(Opens({Waiting(1, 20), Waiting(2, 20)}));  // more of it prolongs nothing
  now_ += milliseconds(1);
  EXPECT_TRUE(Opens({Waiting(1, 20), Waiting(2, 20)}));
  EXPECT_EQ(window_.deadline(), kNever);
}

TEST_F(BatchWindowTest, AnythingInteractiveStartsAtOnce) {
  EXPECT_TRUE(Opens({Waiting(1, 20, Lane::kInteractive)}));
  EXPECT_FALSE(Opens({}));
  EXPECT_FALSE(Opens({Waiting(2, 20)}));
  EXPECT_TRUE(Opens({Waiting(2, 20), Waiting(3, 20, Lane::kInteractive)}));
  EXPECT_EQ(window_.deadline(), kNever);
}

TEST_F(BatchWindowTest, AsMuchAsAStepHoldsDoesNotWait) {
  EXPECT_TRUE(Opens({Waiting(1, 40), Waiting(2, 24)}));
  EXPECT_FALSE(Opens({}));
  EXPECT_TRUE(Opens({Waiting(1, 1), Waiting(2, 1), Waiting(3, 1), Waiting(4, 1)}));
}

TEST_F(BatchWindowTest, WhileStepsFollowEachOtherNothingWaits) {
  Opens({Waiting(1, 20)});
  now_ += milliseconds(20);
  EXPECT_TRUE(Opens({Waiting(1, 20)}));
  EXPECT_TRUE(Opens({}, kBusy));
  EXPECT_TRUE(Opens({Waiting(1, 20)}));  // its next step
  EXPECT_TRUE(Opens({Waiting(2, 20)}, kBusy));
  EXPECT_FALSE(Opens({}));  // a pause
  EXPECT_FALSE(Opens({Waiting(3, 20)}));
}

TEST_F(BatchWindowTest, WorkThatGoesAwayEndsTheGathering) {
  EXPECT_FALSE(Opens({Waiting(1, 20)}));
  EXPECT_FALSE(Opens({}));
  EXPECT_EQ(window_.deadline(), kNever);
  now_ += milliseconds(15);
  EXPECT_FALSE(Opens({Waiting(2, 20)}));
  EXPECT_EQ(window_.deadline(), now_ + milliseconds(20));
}

TEST_F(BatchWindowTest, WithoutAWindowNothingEverWaits) {
  BatchWindow none{Duration::zero()};
  EXPECT_TRUE(none.Opens({Waiting(1, 20)}, kLimits, kIdle, now_));
}

}  // namespace
}  // namespace tandem
