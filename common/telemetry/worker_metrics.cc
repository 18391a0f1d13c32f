#include "common/telemetry/worker_metrics.h"

#include "common/telemetry/buckets.h"

namespace tandem {
namespace {

constexpr const char* kBlockStateNames[] = {"free",  "landing", "filling",
                                            "ready", "cached",  "quarantined"};
constexpr const char* kTokenNames[] = {"prompt_computed", "prompt_cached_local",
                                       "prompt_cached_remote", "generated"};
constexpr const char* kFenceNames[] = {"malformed",  "wrong_incarnation", "mismatch",
                                       "unexpected", "unknown_grant",     "duplicate"};
constexpr const char* kTicketRejectNames[] = {"malformed_header", "unknown_peer", "unknown_grant",
                                              "wrong_peer",       "out_of_range", "split_run",
                                              "wrong_length",     "duplicate"};
constexpr const char* kDirectionNames[] = {"out", "in"};

}  // namespace

WorkerMetrics::WorkerMetrics(MetricsRegistry* registry) {
  const auto counter = [&](const char* name, const char* help) {
    return registry->AddCounter(name, help);
  };
  ForEachLabel<BlockStateLabel>(kBlockStateNames, [&](BlockStateLabel state, const char* name) {
    kv_blocks[state] =
        registry->AddGauge("tandem_kv_blocks", "KV blocks by state.", {{"state", name}});
  });
  prefix_hits = counter("tandem_kv_cache_hit_blocks_total", "Prefix blocks found here.");
  prefix_misses = counter("tandem_kv_cache_miss_blocks_total", "Prefix blocks not found here.");
  evictions = counter("tandem_kv_evictions_total", "Cached blocks freed for room.");
  running = registry->AddGauge("tandem_requests_running", "Sequences or jobs in compute.");
  waiting = registry->AddGauge("tandem_requests_waiting", "Sequences or jobs that wait.");
  ForEachLabel<WorkerTokens>(kTokenNames, [&](WorkerTokens kind, const char* name) {
    tokens[kind] = registry->AddCounter("tandem_tokens_total", "Tokens by kind.", {{"kind", name}});
  });
  cancelled = counter("tandem_requests_cancelled_total", "Sequences or jobs that were cancelled.");
  cancel_to_free = registry->AddHistogram(
      "tandem_cancel_to_free_seconds",
      "From a cancel until the last block of the sequence or job was given back.", kCancelBounds);
  preemptions =
      counter("tandem_preemptions_total", "Sequences that gave their blocks back to go on later.");
  fills_lost = counter("tandem_fills_lost_total", "Remote fills that ended without filling.");
  takeovers = counter("tandem_recompute_fallback_total",
                      "Fills that this worker took over for want of progress.");
  stale_messages = counter("tandem_stale_messages_total",
                           "Messages for requests, attempts or grants that are no more.");
  ForEachLabel<TransferDirection>(
      kDirectionNames, [&](TransferDirection direction, const char* name) {
        kv_transfer_bytes[direction] = registry->AddCounter(
            "tandem_kv_transfer_bytes_total", "KV bytes moved.", {{"direction", name}});
      });
  kv_transfer_failures = counter("tandem_kv_transfer_failures_total", "Segments that failed.");
  kv_checksum_failures = counter("tandem_kv_checksum_failures_total", "Blocks that came damaged.");
  ForEachLabel<FenceLabel>(kFenceNames, [&](FenceLabel why, const char* name) {
    fenced_messages[why] = registry->AddCounter("tandem_fenced_messages_total",
                                                "Messages of peers refused.", {{"reason", name}});
  });
  ForEachLabel<TicketRejectLabel>(kTicketRejectNames, [&](TicketRejectLabel why, const char* name) {
    ticket_rejects[why] =
        registry->AddCounter("tandem_ticket_reject_total",
                             "Segments refused before any memory was named.", {{"why", name}});
  });
  step_seconds =
      registry->AddHistogram("tandem_step_duration_seconds", "Of one step.", kLatencyBounds);
  batch_size =
      registry->AddHistogram("tandem_batch_size", "Sequences in a step.", kSequenceCountBounds);
  batch_tokens =
      registry->AddHistogram("tandem_batch_tokens", "Tokens in a step.", kTokenCountBounds);
  holds = counter("tandem_slow_router_holds_total",
                  "Times that finished steps began to wait for a slow router.");
}

}  // namespace tandem
