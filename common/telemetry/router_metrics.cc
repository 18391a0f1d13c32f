#include "common/telemetry/router_metrics.h"

#include "common/telemetry/buckets.h"

namespace tandem {
namespace {

constexpr const char* kEndpointNames[] = {"completions", "chat_completions", "other"};
constexpr const char* kStatusClassNames[] = {"2xx", "4xx", "5xx"};
constexpr const char* kErrorTypeNames[] = {"validation", "overload", "timeout", "worker",
                                           "internal"};
constexpr const char* kTokenNames[] = {"prompt", "prompt_cached", "generated"};
constexpr const char* kWorkerKindNames[] = {"prefill", "decode"};
constexpr const char* kWorkerStateNames[] = {"ready", "draining", "down"};
constexpr const char* kFillDecisionNames[] = {"remote", "short_suffix", "no_prefill_worker"};

}  // namespace

RouterMetrics::RouterMetrics(MetricsRegistry* registry) {
  ForEachLabel<Endpoint>(kEndpointNames, [&](Endpoint endpoint, const char* endpoint_name) {
    ForEachLabel<StatusClass>(kStatusClassNames, [&](StatusClass status, const char* status_name) {
      requests[endpoint][status] =
          registry->AddCounter("tandem_requests_total", "Requests answered in full.",
                               {{"endpoint", endpoint_name}, {"status_class", status_name}});
    });
  });
  ForEachLabel<ErrorType>(kErrorTypeNames, [&](ErrorType type, const char* name) {
    errors[type] = registry->AddCounter("tandem_request_errors_total", "Requests that failed.",
                                        {{"error_type", name}});
  });
  cancelled =
      registry->AddCounter("tandem_requests_cancelled_total", "Requests whose client went away.");
  running = registry->AddGauge("tandem_requests_running", "Requests that a worker has.");
  waiting = registry->AddGauge("tandem_requests_waiting", "Requests that no worker has yet.");
  queue_wait = registry->AddHistogram("tandem_request_queue_wait_seconds",
                                      "From arrival until work was asked for.", kLatencyBounds);
  ttft = registry->AddHistogram("tandem_time_to_first_token_seconds",
                                "From arrival to the first output token.", kFirstTokenBounds);
  itl = registry->AddHistogram("tandem_inter_token_latency_seconds",
                               "Between output tokens of one request.", kLatencyBounds);
  e2e = registry->AddHistogram("tandem_e2e_request_latency_seconds",
                               "From arrival to the end of the answer.", kRequestBounds);
  ForEachLabel<RouterTokens>(kTokenNames, [&](RouterTokens kind, const char* name) {
    tokens[kind] = registry->AddCounter("tandem_tokens_total", "Tokens by kind.", {{"kind", name}});
  });
  ForEachLabel<FillDecision>(kFillDecisionNames, [&](FillDecision decision, const char* name) {
    fill_decisions[decision] =
        registry->AddCounter("tandem_disagg_decisions_total",
                             "Who was to compute the missing prompt tokens.", {{"decision", name}});
  });
  fenced_frames = registry->AddCounter("tandem_fenced_frames_total",
                                       "Token frames dropped by their epoch or index.");
  fill_retries = registry->AddCounter("tandem_fill_retries_total",
                                      "Prefill workers asked after another one failed.");
  decode_restarts = registry->AddCounter("tandem_decode_restarts_total",
                                         "Requests continued on another decode worker.");
  remembered_blocks = registry->AddGauge(
      "tandem_prefix_map_blocks", "Prompt blocks that the router remembers its workers to hold.");
  ForEachLabel<WorkerKind>(kWorkerKindNames, [&](WorkerKind kind, const char* kind_name) {
    ForEachLabel<WorkerState>(kWorkerStateNames, [&](WorkerState state, const char* state_name) {
      workers[kind][state] = registry->AddGauge(
          "tandem_workers", "Workers by role and state, as the router sees them.",
          {{"worker_role", kind_name}, {"state", state_name}});
    });
  });
}

}  // namespace tandem
