// The prefill worker: computes the KV blocks of prompts and pushes them to decode workers.

#include <cstdio>

#include "common/base/status_macros.h"
#include "common/base/time_slice.h"
#include "common/config/config.h"
#include "common/worker/serve.h"
#include "prefill_worker/core/prefill_core.h"

namespace tandem {
namespace {

absl::Status RunPrefillWorker(const PrefillConfig& config) {
  StartProcess(config, "prefill");
  ASSIGN_OR_RETURN(std::unique_ptr<WorkerSetup> setup,
                   SetUpWorker(config, WorkerRole::kPrefill, config.chunk_tokens));
  PrefillCore core({.prefix_root = setup->prefix_root,
                    .num_layers = setup->memory.num_layers,
                    .block_layer_bytes = setup->memory.block_bytes,
                    .chunk_tokens = config.chunk_tokens,
                    .max_step_time = config.step_budget,
                    .batch_window = config.batch_window,
                    .max_running = config.max_sequences,
                    .max_model_len = setup->hello.max_model_len},
                   setup->cache.get());
  return Serve(config, setup.get(), &core, [&](WorkerMetrics* metrics) {
    const PrefillCounters& counters = core.counters();
    metrics->tokens[WorkerTokens::kPromptComputed].SetTotal(counters.computed_tokens);
    metrics->tokens[WorkerTokens::kPromptCachedLocal].SetTotal(counters.cached_tokens);
    metrics->cancelled.SetTotal(
        counters.jobs_by_result[static_cast<size_t>(JobResult::kCancelled)]);
    for (Duration span : core.TakeCancelToFree()) metrics->cancel_to_free.Observe(ToSeconds(span));
    metrics->fills_lost.SetTotal(
        counters.jobs_by_result[static_cast<size_t>(JobResult::kAbandoned)] +
        counters.jobs_by_result[static_cast<size_t>(JobResult::kRevoked)]);
    metrics->stale_messages.SetTotal(counters.stale_messages);
  });
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv, char** envp) {
  // What follows the last kernel of a prompt must not wait for a slice of the next one's. Not so in
  // a decode worker, whose running streams are the ones that would wait.
  tandem::AskForShortSlices();
  const auto config = tandem::ParsePrefillConfig(argc, argv, envp);
  if (!config.ok()) return tandem::ExitCode("prefill", config.status());
  if (!config->info_text.empty()) return std::fputs(config->info_text.c_str(), stdout) < 0;
  return tandem::ExitCode("prefill", tandem::RunPrefillWorker(*config));
}
