#include "common/model/runner_thread.h"

#include <algorithm>
#include <utility>

#include "common/base/check.h"

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

void RunnerThread::Loop() {
  while (!queue_.closed()) {
    for (const StepPlan& plan : queue_.PopAll(kNever)) {
      if (queue_.closed()) return;
      Run(plan);
    }
  }
}

void RunnerThread::Run(const StepPlan& plan) {
  const Instant began = clock_.Now();
  StepDone done = executor_.Execute(plan, [&](uint32_t layer) {
    StampProgress();
    if (plan.report_layers) post_(LayerDone{plan.id, layer});
  });
  done.step = plan.id;
  done.computing = clock_.Now() - began;
  StampProgress();
  // Before the event: whoever hears it may submit at once.
  in_flight_.fetch_sub(1);
  post_(std::move(done));
}

}  // namespace tandem
