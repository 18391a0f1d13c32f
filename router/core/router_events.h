// What the router's shell tells RouterCore (events) and what the core asks of it (effects). Plain
// data.
//
// Every Submit is answered by exactly one EndStream; between the two come EmitTokens with
// consecutive indices, and nothing follows the EndStream.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "common/base/clock.h"
#include "common/base/ids.h"
#include "common/protocol/router_messages.h"

namespace tandem {

// One configured worker of this router, whatever its current life: a slot of the shell's session
// list.
using WorkerIndex = StrongId<struct WorkerIndexTag, uint32_t>;

struct SubmitEvent {
  RequestId request;     // drawn at random by the shell; also the handle of everything that follows
  std::string trace_id;  // the client-visible request id
  std::vector<TokenId> prompt;  // not empty
  SamplingParams sampling;      // seed set, max_tokens at least 1
  std::string cache_salt;
  Instant deadline = kNever;
  Lane lane = Lane::kInteractive;
};

// Where the time of one request went; zero means that the part did not happen or was not reported.
struct RequestTimings {
  Duration queued{};          // submission to the Generate that was booked (of the first booking)
  Duration route{};           // that Generate to its Booked
  Duration prefill_queued{};  // in the prefill worker, before its first step
  Duration prefill{};         // its first step to its last
  Duration push{};    // its last step to the last acknowledgement: the part that did not overlap
  Duration landed{};  // arrival of Generate at the decode worker to the last committed block
  Duration first_token{};  // submission to the first token here
  Duration total{};
  double tokens_per_second = 0;  // after the first token
  uint32_t cached_tokens = 0;  // prompt tokens found in the decode worker's cache at first booking
  uint32_t pushed_tokens = 0;
  uint32_t computed_tokens = 0;  // prompt tokens that the decode worker computed itself
  uint64_t pushed_bytes = 0;
  uint32_t prompt_tokens = 0;
  uint32_t output_tokens = 0;
  uint32_t epochs = 0;    // decode workers tried
  uint32_t attempts = 0;  // prefill workers tried, over all epochs
};

// Why a stream ended without a finish of its own. Each is one HTTP status.
enum class StreamErrorKind : uint8_t {
  kOverloaded = 1,  // 429: no capacity within the queue's limits
  kNoWorker = 2,    // 503: no decode worker is ready, or none is left
  kDeadline = 3,    // 504
  kInvalid = 4,     // 400: no worker can ever serve it
  kInternal = 5,    // 500: gave up after repeated failures
  kCancelled = 6,   // the client went away
};
const char* StreamErrorKindName(StreamErrorKind kind);

struct StreamError {
  StreamErrorKind kind = StreamErrorKind::kInternal;
  std::string message;
  Duration retry_after{};  // with kOverloaded and kNoWorker
};

// What the end of a worker's session says of the worker.
enum class SessionEnd : uint8_t {
  kWorkerLost,  // it may be dead: a request whose workers die is suspected, and tries others
  kCutOff,      // it lives; we were too slow for it, or silent, and may come again at once
};

struct SendToWorker {
  WorkerIndex worker;
  RouterToWorker message;
};

struct EmitTokens {
  RequestId request;
  uint32_t first_index = 0;
  std::vector<TokenId> tokens;
  std::vector<OutputLogprobs> logprobs;  // empty, or one per token
};

struct EndStream {
  RequestId request;
  FinishReason reason = FinishReason::kStop;  // kError: `error` is set
  std::optional<TokenId> stop_token;
  std::optional<StreamError> error;
  RequestTimings timings;
};

// The worker broke the protocol or fell silent: end its session; a new one may follow.
struct CloseSession {
  WorkerIndex worker;
  std::string reason;
};

// Something odd but survivable, once each: a worker lost, a fill reassigned, an epoch begun.
struct LogFact {
  RequestId request;  // zero: about a worker
  std::string trace_id;
  std::string text;
};

using RouterEffect = std::variant<SendToWorker, EmitTokens, EndStream, CloseSession, LogFact>;

// Running totals and gauges, copied out by the shell for /metrics.
struct RouterStats {
  uint64_t submitted = 0;
  uint64_t finished = 0;
  uint64_t cancelled = 0;
  uint64_t failed = 0;      // ended with an error
  uint64_t overloaded = 0;  // of these: 429
  uint64_t no_worker = 0;   // of these: 503
  uint64_t poisoned = 0;    // of these: their workers died too often
  uint64_t prompt_tokens = 0;
  uint64_t cached_tokens = 0;
  uint64_t output_tokens = 0;
  uint64_t fills_remote = 0;      // bookings filled by a prefill worker
  uint64_t fills_short = 0;       // ... by decode itself: little is missing
  uint64_t fills_no_prefill = 0;  // ... by decode itself: no prefill worker is ready
  uint64_t fills_reassigned = 0;  // a further attempt, or decode itself after a failed one
  uint64_t decode_restarts = 0;   // epochs begun after a failure
  uint64_t fenced_frames = 0;     // dropped by request, epoch or index
  uint64_t duplicate_frames = 0;  // of these: by index
  uint64_t gap_frames = 0;
  uint64_t stale_messages = 0;     // for a request, epoch or attempt that is no longer current
  uint64_t invalid_messages = 0;   // broke the protocol
  uint64_t queued = 0;             // gauge: waiting for a decode worker
  uint64_t active = 0;             // gauge: all requests
  uint64_t remembered_blocks = 0;  // gauge: prompt blocks that workers are thought to hold
  // Gauges by role. Draining: up, but given nothing new.
  uint64_t ready_prefill = 0, draining_prefill = 0;
  uint64_t ready_decode = 0, draining_decode = 0;
};

}  // namespace tandem
