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

// Stops before each of two layers until the test lets it go on. Samples every sequence.
class SteppedExecutor final : public StepExecutor {
 public:
  StepDone Execute(const StepPlan& plan, StepWatcher* watcher) override {
    ++started_;
    StepDone done;
    done.step = plan.id;
    for (const StepSequence& sequence : plan.sequences) done.sampled.push_back({sequence.key});
    for (uint32_t layer = 0; layer < 2; ++layer) {
      AwaitTurn();
      watcher->OnLayer(layer);
      if (layer == 1) break;
      for (const SequenceKey key : watcher->Unwanted()) {
        std::erase_if(done.sampled, [key](const SampledToken& token) { return token.key == key; });
        watcher->OnDropped(key);
      }
    }
    if (plan.id == StepId(99)) {
      done.status = absl::InternalError("a logit is NaN");
      done.sampled.clear();
    }
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
  if (const auto* dropped = std::get_if<SequenceDropped>(&event)) {
    return absl::StrCat("step ", dropped->step.value(), " without ", dropped->key.value());
  }
  const auto& done = std::get<StepDone>(event);
  std::string sampled;
  for (const SampledToken& token : done.sampled) absl::StrAppend(&sampled, " ", token.key.value());
  return absl::StrCat("step ", done.step.value(), " done", done.status.ok() ? "" : " badly",
                      sampled.empty() ? "" : ":", sampled);
}

class RunnerThreadTest : public ::testing::Test {
 protected:
  RunnerThreadTest()
      : runner_(std::make_unique<RunnerThread>(
            &executor_, [this](RunnerEvent event) { events_.PushReserved(std::move(event)); },
            clock_)) {}

  void Submit(uint64_t id, bool report_layers, std::vector<uint64_t> keys = {1}) {
    StepPlan plan;
    plan.id = StepId(id);
    for (const uint64_t key : keys) plan.sequences.push_back({.key = SequenceKey(key)});
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
              ElementsAre("step 1 layer 0", "step 1 layer 1", "step 1 done: 1", "step 2 done: 1"));
}

TEST_F(RunnerThreadTest, ADroppedSequenceLeavesTheRunningStepAtTheNextLayer) {
  Submit(1, false, {7, 8});
  runner_->Drop({StepId(1), SequenceKey(7)});
  executor_.Allow(2);
  EXPECT_THAT(AwaitText(2), ElementsAre("step 1 without 7", "step 1 done: 8"));
}

TEST_F(RunnerThreadTest, ADroppedSequenceLeavesAWaitingStepWhileAnotherRuns) {
  Submit(1, false, {7});
  Submit(2, false, {7, 8});
  runner_->Drop({StepId(2), SequenceKey(8)});
  executor_.Allow(1);
  EXPECT_THAT(AwaitText(1), ElementsAre("step 2 without 8"));
  executor_.Allow(3);
  EXPECT_THAT(AwaitText(2), ElementsAre("step 1 done: 7", "step 2 done: 7"));
}

TEST_F(RunnerThreadTest, AStepWhoseSequencesAllLeftIsNotComputed) {
  Submit(1, false, {7});
  Submit(2, true, {8});
  runner_->Drop({StepId(2), SequenceKey(8)});
  executor_.Allow(2);
  EXPECT_THAT(AwaitText(3), ElementsAre("step 2 without 8", "step 1 done: 7", "step 2 done"));
  EXPECT_EQ(executor_.started(), 1);
}

TEST_F(RunnerThreadTest, DroppingFromAStepThatIsOverHasNoEffect) {
  executor_.Allow(4);
  Submit(1, false, {7});
  EXPECT_THAT(AwaitText(1), ElementsAre("step 1 done: 7"));
  runner_->Drop({StepId(1), SequenceKey(7)});
  Submit(2, false, {7});
  EXPECT_THAT(AwaitText(1), ElementsAre("step 2 done: 7"));
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
  EXPECT_THAT(text, AnyOf(ElementsAre("step 1 layer 1", "step 1 done: 1"),
                          ElementsAre("step 1 layer 1", "step 1 done: 1", "step 2 layer 0",
                                      "step 2 layer 1", "step 2 done: 1")));
}

TEST_F(RunnerThreadTest, IdleDestructionEndsAtOnce) {
  runner_.reset();
  EXPECT_EQ(executor_.started(), 0);
}

}  // namespace
}  // namespace tandem
