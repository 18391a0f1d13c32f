// TransformerExecutor: a step plan as one forward pass, then one draw for each sequence that asks
// for a token.
#pragma once

#include "common/model/step_executor.h"
#include "common/model/transformer.h"
#include "kernels/parallel_for.h"

namespace tandem {

class TransformerExecutor final : public StepExecutor {
 public:
  // Both outlive it. The transformer's KV cache is bound.
  TransformerExecutor(Transformer* transformer, ParallelFor* parallel)
      : transformer_(*transformer), parallel_(*parallel) {}

  // REQUIRES: the plan has at most transformer->max_batch_tokens() tokens, and its block tables
  // cover them.
  StepDone Execute(const StepPlan& plan, StepWatcher* watcher) override;

 private:
  Transformer& transformer_;
  ParallelFor& parallel_;
};

}  // namespace tandem
