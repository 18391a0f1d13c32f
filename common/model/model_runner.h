// ModelRunner: where a worker's shell hands step plans to. RunnerThread is the real one; tests
// bring their own.
#pragma once

#include "common/base/clock.h"
#include "common/engine/step.h"

namespace tandem {

class ModelRunner {
 public:
  virtual ~ModelRunner() = default;

  // Steps are executed in the order of submission; each ends in exactly one StepDone. Never blocks.
  // A step cannot be cancelled: it is bounded in time. REQUIRES: fewer than kMaxStepsInFlight steps
  // are submitted and not yet done.
  virtual void Submit(StepPlan plan) = 0;

  // Time since it last finished a layer or a step while it had work; zero when idle. Any thread.
  virtual Duration ProgressAge(Instant now) const = 0;
};

}  // namespace tandem
