#include "common/base/bounded_queue.h"

#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "common/base/worker_thread.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr Instant kPast{};  // a deadline that has passed: PopAll() does not wait

TEST(BoundedQueueTest, GivesEverythingInOrder) {
  BoundedQueue<int> queue(4);
  EXPECT_TRUE(queue.TryPush(1));
  EXPECT_TRUE(queue.TryPush(2));
  queue.PushReserved(3);
  EXPECT_EQ(queue.size(), 3u);
  EXPECT_THAT(queue.PopAll(kPast), ElementsAre(1, 2, 3));
  EXPECT_THAT(queue.PopAll(kPast), IsEmpty());
}

TEST(BoundedQueueTest, TryPushWhenFullLeavesTheValueUnmoved) {
  BoundedQueue<std::unique_ptr<int>> queue(1);
  EXPECT_TRUE(queue.TryPush(std::make_unique<int>(1)));
  auto value = std::make_unique<int>(2);
  EXPECT_FALSE(queue.TryPush(std::move(value)));
  ASSERT_NE(value, nullptr);
  EXPECT_EQ(*value, 2);
  EXPECT_EQ(queue.size(), 1u);
}

TEST(BoundedQueueTest, PushReservedIsNeverRefused) {
  BoundedQueue<int> queue(1);
  EXPECT_TRUE(queue.TryPush(1));
  queue.PushReserved(2);
  EXPECT_FALSE(queue.TryPush(3));
  EXPECT_THAT(queue.PopAll(kPast), ElementsAre(1, 2));
}

TEST(BoundedQueueTest, TryPopTakesTheOldest) {
  BoundedQueue<int> queue(2);
  EXPECT_EQ(queue.TryPop(), std::nullopt);
  EXPECT_TRUE(queue.TryPush(1));
  EXPECT_TRUE(queue.TryPush(2));
  EXPECT_EQ(queue.TryPop(), 1);
  EXPECT_TRUE(queue.TryPush(3));
  EXPECT_THAT(queue.PopAll(kPast), ElementsAre(2, 3));
}

TEST(BoundedQueueTest, ClosedQueueRefusesNewAndKeepsOldValues) {
  BoundedQueue<int> queue(4);
  EXPECT_TRUE(queue.TryPush(1));
  queue.Close();
  EXPECT_TRUE(queue.closed());
  EXPECT_FALSE(queue.TryPush(2));
  queue.PushReserved(3);
  EXPECT_THAT(queue.PopAll(kNever), ElementsAre(1));
  EXPECT_THAT(queue.PopAll(kNever), IsEmpty());
}

TEST(BoundedQueueTest, CloseWakesTheConsumer) {
  BoundedQueue<int> queue(1);
  std::vector<int> popped = {-1};
  WorkerThread consumer("consumer", [&] { popped = queue.PopAll(kNever); });
  queue.Close();
  consumer.Join();
  EXPECT_THAT(popped, IsEmpty());
}

TEST(BoundedQueueTest, WakeEndsOneWaitAndKeepsTheValues) {
  BoundedQueue<int> queue(4);
  queue.Wake();
  EXPECT_TRUE(queue.PopAll(kNever).empty());
  ASSERT_TRUE(queue.TryPush(1));
  EXPECT_EQ(queue.PopAll(kNever).size(), 1u);
}

TEST(BoundedQueueTest, ManyProducersLoseAndRepeatNothing) {
  constexpr int kProducers = 4;
  constexpr int kEach = 500;
  BoundedQueue<int> queue(8);
  std::vector<int> seen(kProducers * kEach);
  {
    std::vector<WorkerThread> producers;
    for (int producer = 0; producer < kProducers; ++producer) {
      producers.emplace_back("producer", [&queue, producer] {
        for (int i = 0; i < kEach; ++i) {
          while (!queue.TryPush(producer * kEach + i)) std::this_thread::yield();
        }
      });
    }
    std::vector<int> last(kProducers, -1);
    for (int taken = 0; taken < kProducers * kEach;) {
      for (int value : queue.PopAll(kNever)) {
        ++seen[value];
        ++taken;
        EXPECT_GT(value % kEach, last[value / kEach]);  // each producer's order is kept
        last[value / kEach] = value % kEach;
      }
    }
  }
  EXPECT_THAT(seen, testing::Each(1));
}

}  // namespace
}  // namespace tandem
