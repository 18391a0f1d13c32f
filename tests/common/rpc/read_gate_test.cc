#include "common/rpc/read_gate.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <utility>

#include "common/base/bounded_queue.h"

namespace tandem {
namespace {

class ReadGateTest : public ::testing::Test {
 protected:
  int reads_ = 0;  // started; guarded by the gate
  const std::shared_ptr<ReadGate> gate_ = std::make_shared<ReadGate>(2, [this] { ++reads_; });
};

TEST_F(ReadGateTest, ReadsOnWhileThereAreCredits) {
  gate_->ReadOn();
  const ReadCredit first = gate_->TakeCredit();
  gate_->ReadOn();
  EXPECT_EQ(reads_, 2);
  EXPECT_FALSE(gate_->waits());
}

TEST_F(ReadGateTest, WithoutCreditsTheNextReadWaitsForOne) {
  ReadCredit first = gate_->TakeCredit();
  const ReadCredit second = gate_->TakeCredit();
  gate_->ReadOn();
  EXPECT_EQ(reads_, 0);
  EXPECT_TRUE(gate_->waits());
  { const ReadCredit let_go = std::move(first); }
  EXPECT_EQ(reads_, 1);
  EXPECT_FALSE(gate_->waits());
}

TEST_F(ReadGateTest, CreditThatComesBackBeforeItIsWaitedForStartsNothing) {
  { const ReadCredit let_go = gate_->TakeCredit(); }
  EXPECT_EQ(reads_, 0);
  gate_->ReadOn();
  EXPECT_EQ(reads_, 1);
}

TEST_F(ReadGateTest, ClosedGateStartsNothing) {
  {
    const ReadCredit first = gate_->TakeCredit();
    const ReadCredit second = gate_->TakeCredit();
    gate_->ReadOn();
    EXPECT_TRUE(gate_->Close());
    EXPECT_FALSE(gate_->waits());
  }
  EXPECT_FALSE(gate_->ReadOn());
  EXPECT_EQ(reads_, 0);
}

// One thread reads, another handles: every frame is read, and never more than two are unhandled.
TEST(ReadGateRaceTest, CreditsComeBackOnAnotherThread) {
  constexpr int kFrames = 5000;
  const Instant give_up = SystemClock().Now() + std::chrono::seconds(60);
  BoundedQueue<bool> started(2);  // reads under way: one at most
  BoundedQueue<ReadCredit> unhandled(2);
  const auto gate = std::make_shared<ReadGate>(2, [&] { ASSERT_TRUE(started.TryPush(true)); });
  std::thread reader([&] {
    for (int frame = 0; frame < kFrames; ++frame) {
      ASSERT_EQ(started.PopAll(give_up).size(), 1);
      ASSERT_TRUE(unhandled.TryPush(gate->TakeCredit()));
      gate->ReadOn();
    }
  });
  gate->ReadOn();
  int handled = 0;
  while (handled < kFrames) {
    const size_t more = unhandled.PopAll(give_up).size();
    if (more == 0) break;  // the reader has failed
    handled += static_cast<int>(more);
  }
  EXPECT_EQ(handled, kFrames);
  reader.join();
}

}  // namespace
}  // namespace tandem
