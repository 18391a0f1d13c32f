// The decode worker: keeps the paged KV cache of running sequences, samples their tokens and
// streams them to routers.

#include <algorithm>
#include <cstdio>

#include "common/base/status_macros.h"
#include "common/config/config.h"
#include "common/worker/serve.h"
#include "decode_worker/core/decode_core.h"

namespace tandem {
namespace {

// Of a step by the prompt tokens in it, where the settings name no time: a stream that runs slows
// down to half its pace at most, as far as parts of a step can be made that small.
constexpr double kMaxStretch = 2;

absl::Status RunDecodeWorker(const DecodeConfig& config) {
  StartProcess(config, "decode");
  ASSIGN_OR_RETURN(std::unique_ptr<WorkerSetup> setup,
                   SetUpWorker(config, WorkerRole::kDecode, config.max_batch_tokens));
  DecodeCore core({.prefix_root = setup->prefix_root,
                   .incarnation = setup->hello.handshake.incarnation,
                   .first_grant_id = RandomId() >> 16,  // far from wrapping round
                   .end_tokens = setup->model->end_tokens,
                   .max_model_len = setup->hello.max_model_len,
                   .max_sequences = config.max_sequences,
                   .reserve_blocks = config.reserve_blocks,
                   .step_limits = {.max_batch_tokens = config.max_batch_tokens,
                                   .max_prefill_tokens = std::min(
                                       config.chunk_tokens, config.max_prefill_tokens_per_step),
                                   .max_sequences = config.max_sequences,
                                   .max_time = config.step_budget,
                                   .max_stretch = kMaxStretch},
                   .batch_window = config.batch_window},
                  setup->cache.get());
  return Serve(config, setup.get(), &core, [&](WorkerMetrics* metrics) {
    const DecodeCounters& counters = core.counters();
    metrics->tokens[WorkerTokens::kPromptComputed].SetTotal(counters.computed_prompt_tokens);
    metrics->tokens[WorkerTokens::kPromptCachedLocal].SetTotal(counters.cached_tokens);
    metrics->tokens[WorkerTokens::kPromptCachedRemote].SetTotal(counters.landed_tokens);
    metrics->tokens[WorkerTokens::kGenerated].SetTotal(counters.generated_tokens);
    metrics->cancelled.SetTotal(counters.cancelled);
    for (Duration span : core.TakeCancelToFree()) metrics->cancel_to_free.Observe(ToSeconds(span));
    metrics->preemptions.SetTotal(counters.preemptions);
    metrics->fills_lost.SetTotal(counters.fills_lost);
    metrics->takeovers.SetTotal(counters.takeovers);
    metrics->stale_messages.SetTotal(counters.stale_messages);
  });
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv, char** envp) {
  const auto config = tandem::ParseDecodeConfig(argc, argv, envp);
  if (!config.ok()) return tandem::ExitCode("decode", config.status());
  if (!config->info_text.empty()) return std::fputs(config->info_text.c_str(), stdout) < 0;
  return tandem::ExitCode("decode", tandem::RunDecodeWorker(*config));
}
