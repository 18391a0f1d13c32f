#include "common/model/runner_thread.h"

#include <algorithm>
#include <utility>

#include "absl/algorithm/container.h"
#include "common/base/check.h"
#include "common/base/time_slice.h"

namespace tandem {

RunnerThread::RunnerThread(StepExecutor* executor, Post post, const Clock& clock)
    : executor_(*executor),
      post_(std::move(post)),
      clock_(clock),
      thread_("runner", [this] { Loop(); }) {}

RunnerThread::~RunnerThread() {
  queue_.Close();
  thread_.Join();
}

void RunnerThread::Submit(StepPlan plan) {
  // The stamp comes before the count: who sees work sees when it began.
  if (in_flight_.load() == 0) StampProgress();
  TANDEM_CHECK_MSG(in_flight_.fetch_add(1) < kMaxStepsInFlight, "too many steps in flight");
  TANDEM_CHECK(queue_.TryPush(std::move(plan)));
}

Duration RunnerThread::ProgressAge(Instant now) const {
  if (in_flight_.load() == 0) return Duration::zero();
  const Instant last{Duration(progress_ns_.load())};
  return std::max(Duration::zero(), Duration(now - last));
}

void RunnerThread::StampProgress() { progress_ns_.store(clock_.Now().time_since_epoch().count()); }

void RunnerThread::Drop(StepDrop drop) {
  MutexLock lock(&drops_mutex_);
  drops_.push_back(drop);
}

void RunnerThread::Loop() {
  AskForDefaultSlices();
  while (!queue_.closed()) {
    for (StepPlan& plan : queue_.PopAll(kNever)) {
      if (queue_.closed()) return;
      Run(std::move(plan));
    }
  }
}

class RunnerThread::Watcher final : public StepWatcher {
 public:
  Watcher(RunnerThread* runner, const StepPlan* plan) : runner_(*runner), plan_(*plan) {}

  void OnLayer(uint32_t layer) override {
    runner_.StampProgress();
    if (plan_.report_layers) runner_.post_(LayerDone{plan_.id, layer});
  }
  std::vector<SequenceKey> Unwanted() override { return runner_.TakeDrops(plan_.id); }
  void OnDropped(SequenceKey key) override { runner_.post_(SequenceDropped{plan_.id, key}); }

 private:
  RunnerThread& runner_;
  const StepPlan& plan_;
};

std::vector<SequenceKey> RunnerThread::TakeDrops(StepId running) {
  std::vector<StepDrop> drops;
  {
    MutexLock lock(&drops_mutex_);
    drops.swap(drops_);
  }
  std::vector<SequenceKey> unwanted;
  for (const StepDrop& drop : drops) {
    if (drop.step == running) unwanted.push_back(drop.key);
    if (drop.step > running) {
      left_.push_back(drop);
      post_(SequenceDropped{drop.step, drop.key});
    }
  }
  return unwanted;
}

void RunnerThread::Run(StepPlan plan) {
  const Instant began = clock_.Now();
  std::erase_if(plan.sequences, [&](const StepSequence& sequence) {
    return absl::c_any_of(left_, [&](const StepDrop& drop) {
      return drop.step == plan.id && drop.key == sequence.key;
    });
  });
  std::erase_if(left_, [&](const StepDrop& drop) { return drop.step <= plan.id; });
  StepDone done;
  if (!plan.sequences.empty()) {
    Watcher watcher(this, &plan);
    done = executor_.Execute(plan, &watcher);
  }
  done.step = plan.id;
  done.computing = clock_.Now() - began;
  StampProgress();
  // Before the event: whoever hears it may submit at once.
  in_flight_.fetch_sub(1);
  post_(std::move(done));
}

}  // namespace tandem
