#include "common/model/runner_thread.h"

#include <gmock/gmock.h>

#include <atomic>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/mutex.h"

namespace tandem {
namespace {

using ::testing::AnyOf;
using ::testing::ElementsAre;

// A clock that a test moves while other threads read it.
class SharedClock final : public Clock {
 public:
  Instant Now() const override { return Instant(Duration(now_ns_.load())); }
  void Advance(Duration d) { now_ns_ += d.count(); }

 private:
  std::atomic<int64_t> now_ns_{3'600'000'000'000};
};

// Stops before each of two layers until the test lets it go on.
class SteppedExecutor final : public StepExecutor {
 public:
  StepDone Execute(const StepPlan& plan, absl::FunctionRef<void(uint32_t)> on_layer) override {
    ++started_;
    for (uint32_t layer = 0; layer < 2; ++layer) {
      AwaitTurn();
      on_layer(layer);
    }
    StepDone done;
    done.step = plan.id;
    if (plan.id == StepId(99)) done.status = absl::InternalError("a logit is NaN");
    return done;
  }

  // Lets `layers` more layers be computed.
  void Allow(int layers) {
    {
      MutexLock lock(&mutex_);
      allowed_ += layers;
    }
    changed_.NotifyAll();
  }

  int started() const { return started_.load(); }

 private:
  void AwaitTurn() {
    MutexLock lock(&mutex_);
    changed_.WaitUntil(&mutex_, kNever,
                       [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return allowed_ > 0; });
    --allowed_;
  }

  Mutex mutex_;
  CondVar changed_;
  int allowed_ ABSL_GUARDED_BY(mutex_) = 0;
  std::atomic<int> started_{0};
};

std::string Describe(const RunnerEvent& event) {
  if (const auto* layer = std::get_if<LayerDone>(&event)) {
    return absl::StrCat("step ", layer->step.value(), " layer ", layer->layer);
  }
  const auto& done = std::get<StepDone>(event);
  return absl::StrCat("step ", done.step.value(), " done", done.status.ok() ? "" : " badly");
}

class RunnerThreadTest : public ::testing::Test {
 protected:
  RunnerThreadTest()
      : runner_(std::make_unique<RunnerThread>(
            &executor_, [this](RunnerEvent event) { events_.PushReserved(std::move(event)); },
            clock_)) {}

  void Submit(uint64_t id, bool report_layers) {
    StepPlan plan;
    plan.id = StepId(id);
    plan.report_layers = report_layers;
    runner_->Submit(std::move(plan));
  }

  std::vector<RunnerEvent> Await(size_t count) {
    std::vector<RunnerEvent> events;
    while (events.size() < count) {
      for (RunnerEvent& event : events_.PopAll(kNever)) events.push_back(std::move(event));
    }
    return events;
  }

  std::vector<std::string> AwaitText(size_t count) {
    std::vector<std::string> text;
    for (const RunnerEvent& event : Await(count)) text.push_back(Describe(event));
    return text;
  }

  SharedClock clock_;
  SteppedExecutor executor_;
  BoundedQueue<RunnerEvent> events_{64};
  std::unique_ptr<RunnerThread> runner_;
};

TEST_F(RunnerThreadTest, LayersComeInOrderBeforeTheStepThatAskedForThem) {
  executor_.Allow(4);
  Submit(1, true);
  Submit(2, false);
  EXPECT_THAT(AwaitText(4),
              ElementsAre("step 1 layer 0", "step 1 layer 1", "step 1 done", "step 2 done"));
}

TEST_F(RunnerThreadTest, ErrorsOfTheComputationArriveAsTheStepsStatus) {
  executor_.Allow(2);
  Submit(99, false);
  EXPECT_THAT(AwaitText(1), ElementsAre("step 99 done badly"));
}

TEST_F(RunnerThreadTest, AStepMayBeSubmittedAsSoonAsOneIsHeardToBeDone) {
  executor_.Allow(1000);
  Submit(1, false);
  Submit(2, false);
  for (uint64_t id = 3; id < 200; ++id) {
    Await(1);
    Submit(id, false);
  }
}

TEST_F(RunnerThreadTest, AThirdStepInFlightIsABug) {
  Submit(1, false);
  Submit(2, false);
  EXPECT_DEATH(Submit(3, false), "too many steps in flight");
  executor_.Allow(4);
  Await(2);
}

TEST_F(RunnerThreadTest, ProgressAgeGrowsOnlyWhileWorkDoesNotMove) {
  clock_.Advance(std::chrono::seconds(5));
  EXPECT_EQ(runner_->ProgressAge(clock_.Now()), Duration::zero());  // idle
  Submit(1, true);
  clock_.Advance(std::chrono::seconds(7));
  EXPECT_EQ(runner_->ProgressAge(clock_.Now()), std::chrono::seconds(7));
  executor_.Allow(1);
  Await(1);  // its first layer
  EXPECT_EQ(runner_->ProgressAge(clock_.Now()), Duration::zero());
  clock_.Advance(std::chrono::seconds(2));
  EXPECT_EQ(runner_->ProgressAge(clock_.Now()), std::chrono::seconds(2));
  executor_.Allow(1);
  Await(2);
  clock_.Advance(std::chrono::seconds(9));
  EXPECT_EQ(runner_->ProgressAge(clock_.Now()), Duration::zero());  // idle again
}

TEST_F(RunnerThreadTest, ComputingTimeIsMeasured) {
  Submit(1, true);
  executor_.Allow(1);
  Await(1);
  clock_.Advance(std::chrono::seconds(3));
  executor_.Allow(1);
  const std::vector<RunnerEvent> events = Await(2);
  EXPECT_EQ(std::get<StepDone>(events[1]).computing, std::chrono::seconds(3));
}

TEST_F(RunnerThreadTest, DestructionPostsWholeStepsOnly) {
  Submit(1, true);
  executor_.Allow(1);
  EXPECT_THAT(AwaitText(1), ElementsAre("step 1 layer 0"));  // now it runs, and waits
  Submit(2, true);
  WorkerThread destroyer("destroyer", [this] { runner_.reset(); });
  executor_.Allow(3);
  destroyer.Join();
  std::vector<std::string> text;
  while (std::optional<RunnerEvent> event = events_.TryPop()) text.push_back(Describe(*event));
  // Whether the second step began before the end was known is a matter of time.
  EXPECT_THAT(text, AnyOf(ElementsAre("step 1 layer 1", "step 1 done"),
                          ElementsAre("step 1 layer 1", "step 1 done", "step 2 layer 0",
                                      "step 2 layer 1", "step 2 done")));
}

TEST_F(RunnerThreadTest, IdleDestructionEndsAtOnce) {
  runner_.reset();
  EXPECT_EQ(executor_.started(), 0);
}

}  // namespace
}  // namespace tandem
