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
  // REQUIRES: fewer than kMaxStepsInFlight steps are submitted and not yet done.
  virtual void Submit(StepPlan plan) = 0;

  // Leaves a sequence out of a step, from the next layer on. Without effect once the step is done.
  // Never blocks.
  virtual void Drop(StepDrop drop) = 0;

  // Time since it last finished a layer or a step while it had work; zero when idle. Any thread.
  virtual Duration ProgressAge(Instant now) const = 0;
};

}  // namespace tandem
