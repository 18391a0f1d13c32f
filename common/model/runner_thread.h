// RunnerThread executes steps on a thread of its own and posts what comes of them.
//
// Submit and Drop are called by one thread, the core's; ProgressAge by any. Events are posted from
// the runner's thread, in order: the LayerDone of a step (if its plan asks for them), then its
// StepDone; SequenceDropped at any time before that. Destruction finishes the step that runs and
// posts its events; steps that have not begun are dropped without a word.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <vector>

#include "common/base/bounded_queue.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/base/worker_thread.h"
#include "common/model/model_runner.h"
#include "common/model/step_executor.h"

namespace tandem {

class RunnerThread final : public ModelRunner {
 public:
  using Post = std::function<void(RunnerEvent)>;

  // `executor` and `clock` outlive it. `post` must not block.
  RunnerThread(StepExecutor* executor, Post post, const Clock& clock = SystemClock());
  ~RunnerThread() override;

  void Submit(StepPlan plan) override;
  void Drop(StepDrop drop) override;
  Duration ProgressAge(Instant now) const override;

 private:
  class Watcher;

  void Loop();
  void Run(StepPlan plan);
  // Tells which sequences of the running step are unwanted; those of a step that waits leave it
  // here and now.
  std::vector<SequenceKey> TakeDrops(StepId running);
  void StampProgress();

  StepExecutor& executor_;
  const Post post_;
  const Clock& clock_;
  std::atomic<int> in_flight_{0};
  std::atomic<int64_t> progress_ns_{0};  // the clock when work last moved, or began
  BoundedQueue<StepPlan> queue_{kMaxStepsInFlight};
  // Bounded by the sequences of the steps in flight, each of which is dropped once.
  Mutex drops_mutex_;
  std::vector<StepDrop> drops_ ABSL_GUARDED_BY(drops_mutex_);
  std::vector<StepDrop> left_;  // sequences that have left a step that waits; runner's thread
  WorkerThread thread_;         // last: it uses all of the above
};

}  // namespace tandem
