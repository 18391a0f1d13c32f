// StepExecutor computes one step plan. The seam between the runner's thread and the model:
// TransformerExecutor is the real one, tests bring their own.
//
// Used by one thread at a time, the runner's; a step is bounded in time by its number of tokens.
#pragma once

#include <cstdint>

#include "absl/functional/function_ref.h"
#include "common/engine/step.h"

namespace tandem {

class StepExecutor {
 public:
  virtual ~StepExecutor() = default;

  // Calls `on_layer` for each layer in order. With plan.report_layers the layer's KV is readable by
  // everyone when it is called; without, the call says only that work goes on. Errors of the
  // computation are in the result's status; `computing` is left to the caller.
  virtual StepDone Execute(const StepPlan& plan,
                           absl::FunctionRef<void(uint32_t layer)> on_layer) = 0;
};

}  // namespace tandem
