// What prefill and decode workers measure; each line says who feeds it. Served on the worker's
// metrics port.
#pragma once

#include <cstdint>

#include "common/telemetry/metrics.h"

namespace tandem {

// States of blocks as the pool counts them; their sum is the total.
enum class BlockStateLabel : uint8_t {
  kFree,
  kLanding,
  kFilling,
  kReady,
  kCached,
  kQuarantined,
  kCount
};
enum class WorkerTokens : uint8_t {
  kPromptComputed,      // KV computed here
  kPromptCachedLocal,   // found in this worker's prefix cache
  kPromptCachedRemote,  // landed from another worker
  kGenerated,
  kCount
};
enum class TransferDirection : uint8_t { kOut, kIn, kCount };
// The reasons of common/transfer/transfer_counters.h, in its order and with its names.
enum class FenceLabel : uint8_t {
  kMalformed,
  kWrongIncarnation,
  kMismatch,
  kUnexpected,
  kUnknownGrant,
  kDuplicate,
  kCount
};
enum class TicketRejectLabel : uint8_t {
  kMalformedHeader,
  kUnknownPeer,
  kUnknownGrant,
  kWrongPeer,
  kOutOfRange,
  kSplitRun,
  kWrongLength,
  kDuplicate,
  kCount
};

struct WorkerMetrics {
  explicit WorkerMetrics(MetricsRegistry* registry);

  // The pool and the prefix cache, every turn of the core.
  ByLabel<BlockStateLabel, Gauge> kv_blocks;
  Counter prefix_hits;    // blocks
  Counter prefix_misses;  // blocks
  Counter evictions;      // blocks
  // The core.
  Gauge running;  // sequences or jobs in compute
  Gauge waiting;
  ByLabel<WorkerTokens, Counter> tokens;
  Counter cancelled;
  Histogram cancel_to_free;  // from the cancel until the last block was given back
  Counter preemptions;
  Counter fills_lost;      // remote fills that ended without filling
  Counter takeovers;       // of those, for want of progress
  Counter stale_messages;  // for requests, attempts or grants that are no more
  // The transfer thread.
  ByLabel<TransferDirection, Counter> kv_transfer_bytes;
  Counter kv_transfer_failures;                        // segments
  Counter kv_checksum_failures;                        // blocks
  ByLabel<FenceLabel, Counter> fenced_messages;        // messages of peers refused
  ByLabel<TicketRejectLabel, Counter> ticket_rejects;  // segments, before any memory was named
  // The runner, for each step.
  Histogram step_seconds;
  Histogram batch_size;  // sequences
  Histogram batch_tokens;
  // The shell.
  Counter holds;  // times that finished steps began to wait for a slow router
};

}  // namespace tandem
