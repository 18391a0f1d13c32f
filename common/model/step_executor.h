// StepExecutor computes one step plan. The seam between the runner's thread and the model:
// TransformerExecutor is the real one, tests bring their own.
//
// Used by one thread at a time, the runner's; a step is bounded in time by its number of tokens,
// and gets shorter by those that are no longer wanted.
#pragma once

#include <cstdint>
#include <vector>

#include "common/engine/step.h"

namespace tandem {

// Follows one step. Called by the thread that executes it.
class StepWatcher {
 public:
  virtual ~StepWatcher() = default;

  // Each layer in order. With plan.report_layers the layer's KV is readable by everyone now;
  // without, the call says only that work goes on.
  virtual void OnLayer(uint32_t layer) = 0;
  // Between two layers: sequences of the step that need not be computed any further. Each is named
  // once.
  virtual std::vector<SequenceKey> Unwanted() = 0;
  // Nothing of this unwanted sequence is read or written any more.
  virtual void OnDropped(SequenceKey key) = 0;
};

class StepExecutor {
 public:
  virtual ~StepExecutor() = default;

  // Errors of the computation are in the result's status; `computing` is left to the caller.
  virtual StepDone Execute(const StepPlan& plan, StepWatcher* watcher) = 0;
};

}  // namespace tandem
