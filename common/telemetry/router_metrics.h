// What the router measures. Fed by the router's shell, unless a line says otherwise; the router
// serves the text itself at GET /metrics.
#pragma once

#include <cstdint>

#include "common/telemetry/metrics.h"

namespace tandem {

enum class Endpoint : uint8_t { kCompletions, kChatCompletions, kOther, kCount };
enum class StatusClass : uint8_t { k2xx, k4xx, k5xx, kCount };  // of the HTTP status sent
enum class ErrorType : uint8_t {
  kValidation,  // 400, 404, 413, 422
  kOverload,    // 429, 503
  kTimeout,     // 504, or the deadline passed after the first byte
  kWorker,      // no worker could finish it
  kInternal,
  kCount
};
enum class RouterTokens : uint8_t { kPrompt, kPromptCached, kGenerated, kCount };
enum class WorkerKind : uint8_t { kPrefill, kDecode, kCount };
enum class WorkerState : uint8_t { kReady, kDraining, kDown, kCount };
// Who was to fill the missing range: a prefill worker, decode because the suffix is short, decode
// because no prefill worker was there.
enum class FillDecision : uint8_t { kRemote, kShortSuffix, kNoPrefillWorker, kCount };

struct RouterMetrics {
  explicit RouterMetrics(MetricsRegistry* registry);

  // Counted when the answer is complete.
  ByLabel<Endpoint, ByLabel<StatusClass, Counter>> requests;
  ByLabel<ErrorType, Counter> errors;
  Counter cancelled;  // the client went away
  Gauge running;      // a worker has it
  Gauge waiting;      // admitted, no worker yet
  // From the arrival of the request; seconds.
  Histogram queue_wait;  // until the first worker was asked
  Histogram ttft;
  Histogram itl;  // between token frames, per token
  Histogram e2e;
  ByLabel<RouterTokens, Counter> tokens;
  // By the router's core, through its effects.
  ByLabel<FillDecision, Counter> fill_decisions;
  Counter fenced_frames;    // token frames dropped by epoch or index
  Counter fill_retries;     // further Assigns after a FillLost
  Counter decode_restarts;  // epochs after the first
  Gauge remembered_blocks;  // prompt blocks that workers are thought to hold
  ByLabel<WorkerKind, ByLabel<WorkerState, Gauge>> workers;
};

}  // namespace tandem
