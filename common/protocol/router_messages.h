// The messages between a router and a worker, inside their one session: plain structs that cores
// and the simulation speak; common/rpc converts them to and from protobuf.
//
// Who sends what (-> to the worker, <- from it):
//   decode:   -> Generate, Assign, Cancel          <- Booked, Refused, TokenFrame, FillLost
//   prefill:  -> PrefillJob, CancelJob             <- JobEnded
//   both:     -> RouterHeartbeat                   <- WorkerHello (first), WorkerHeartbeat
// A session owns all that it started: when it ends, the worker cancels everything in it.
//
// All deadlines are remaining durations; no wall-clock time crosses the wire.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "common/base/clock.h"
#include "common/base/ids.h"
#include "common/protocol/handshake.h"
#include "common/protocol/lane.h"
#include "common/protocol/nonce.h"

namespace tandem {

// How the next token is chosen, and when the output ends. Stop strings are the router's business:
// decode sees ids only.
struct SamplingParams {
  float temperature = 1.0f;  // 0: greedy
  int32_t top_k = 0;         // 0: off
  float top_p = 1.0f;        // 1: off
  uint64_t seed = 0;  // always set by the router; draws are Philox(seed, choice, output index)
  uint32_t max_tokens = 16;  // at least 1
  uint32_t min_tokens =
      0;  // end-of-sequence and stop ids cannot be chosen before this many outputs
  bool ignore_eos = false;  // the model's own end tokens do not end the output
  std::vector<TokenId> stop_token_ids;
  int32_t top_logprobs = -1;  // -1: no logprobs; n >= 0: the chosen token's and the n best

  friend bool operator==(const SamplingParams&, const SamplingParams&) = default;
};

// ---- router -> decode ----

// Names the one remote party that may fill the missing range, or nobody.
struct FillAssignment {
  uint32_t attempt = 0;  // counts up from 1 within an epoch
  Nonce nonce;
  Incarnation prefill;        // the prefill worker's life that was asked
  Duration fallback_after{};  // decode fills by itself when nothing was committed for this long
};

struct Generate {
  RequestId request;
  std::string trace_id;          // the client-visible request id, for logs
  uint32_t epoch = 0;            // counts up with every decode worker tried
  std::vector<TokenId> prompt;   // not empty
  std::vector<TokenId> outputs;  // tokens already delivered to the client, when resumed
  SamplingParams sampling;
  std::string cache_salt;                    // prefixes are shared only within equal salts
  Duration remaining{};                      // until the request's deadline
  std::optional<FillAssignment> assignment;  // none: decode fills by itself
  Lane lane = Lane::kInteractive;
};

// A new remote filler for a booked request, or (none) the order to fill by itself, which is final
// for the epoch.
struct Assign {
  RequestId request;
  uint32_t epoch = 0;
  std::optional<FillAssignment> assignment;
};

struct Cancel {
  RequestId request;
  uint32_t epoch = 0;
};

// ---- decode -> router ----

struct Booked {
  RequestId request;
  uint32_t epoch = 0;
  uint32_t cached_tokens = 0;  // prompt tokens found in the decode worker's prefix cache
};

enum class RefuseReason : uint8_t {
  kNoCapacity = 1,  // the ledger is full: try another worker, or later
  kTooLong = 2,     // can never fit this worker
  kDraining = 3,
  kDuplicate = 4,  // the (request, epoch) exists already
  kInvalid = 5,
};

struct Refused {
  RequestId request;
  uint32_t epoch = 0;
  RefuseReason reason = RefuseReason::kNoCapacity;
  std::string message;
};

struct TokenLogprob {
  TokenId token = 0;
  float logprob = 0;
  friend bool operator==(const TokenLogprob&, const TokenLogprob&) = default;
};

// The logprobs of one output token: the chosen one first, then the best ones asked for, best first.
struct OutputLogprobs {
  TokenLogprob chosen;
  std::vector<TokenLogprob> top;
  friend bool operator==(const OutputLogprobs&, const OutputLogprobs&) = default;
};

enum class FinishReason : uint8_t {
  kStop = 1,  // an end token or a stop token id; `stop_token` says which
  kLength = 2,
  kError = 3,  // `error` says why; no more tokens follow
};

// How long a decode worker took over the parts of one request, as durations from the arrival of
// Generate.
struct DecodeTimings {
  Duration first_grant{};  // zero: nothing was granted
  Duration landed{};       // the last pushed block was committed; zero: nothing was pushed
  Duration first_token{};
  Duration finished{};
  uint32_t cached_tokens = 0;    // found in the prefix cache
  uint32_t pushed_tokens = 0;    // landed from prefill workers
  uint32_t computed_tokens = 0;  // prompt tokens whose KV this worker computed
};

struct Finish {
  FinishReason reason = FinishReason::kStop;
  std::optional<TokenId> stop_token;  // none: the model's own end of sequence
  std::string error;
  DecodeTimings timings;
};

// Output tokens of one sequence. `first_index` counts output tokens from 0, resumed ones included.
// The end token itself is not an output token. `finish` travels with the last tokens (or with
// none).
struct TokenFrame {
  RequestId request;
  uint32_t choice = 0;
  uint32_t epoch = 0;
  uint32_t first_index = 0;
  std::vector<TokenId> tokens;
  std::vector<OutputLogprobs> logprobs;  // empty, or one per token
  std::optional<Finish> finish;
};

// A remote fill ended without filling: the lease is revoked. The router assigns another attempt, or
// decode itself.
struct FillLost {
  RequestId request;
  uint32_t epoch = 0;
  uint32_t attempt = 0;
  std::string reason;
  bool filling_itself = false;  // decode has taken over already; a later Assign is without effect
};

// ---- router <-> prefill ----

struct PrefillJob {
  RequestId request;
  std::string trace_id;
  uint32_t epoch = 0;
  uint32_t attempt = 0;
  Nonce nonce;
  std::vector<TokenId> tokens;  // prompt, then outputs when resumed
  std::string cache_salt;
  std::string decode_address;  // opaque transfer address of the decode worker
  Incarnation decode;          // the life of the decode worker that booked it
  Duration remaining{};
  Lane lane = Lane::kInteractive;
};

struct CancelJob {
  RequestId request;
  uint32_t epoch = 0;
  uint32_t attempt = 0;
};

enum class JobResult : uint8_t {
  kPushed = 1,     // every block the decode worker asked for was committed and acknowledged
  kAbandoned = 2,  // this worker gave up; `message` says why
  kRevoked = 3,    // the decode worker took the lease back
  kCancelled = 4,
  kRefused = 5,  // not accepted: queue full, draining, mismatch
};

struct JobEnded {
  RequestId request;
  uint32_t epoch = 0;
  uint32_t attempt = 0;
  JobResult result = JobResult::kPushed;
  std::string message;
  uint32_t cached_tokens = 0;  // found in the prefill worker's prefix cache
  uint32_t computed_tokens = 0;
  uint64_t pushed_bytes = 0;
  Duration queued{};     // arrival to first step
  Duration computing{};  // first step to last
  Duration exposed{};    // last step's end to the last acknowledgement
};

// ---- both ----

// The first message of a worker in a session: who it is and what it can hold.
struct WorkerHello {
  WorkerRole role = WorkerRole::kDecode;
  Handshake handshake;
  std::string worker_name;  // host:port or pod name, for logs
  std::string model_name;
  std::string transfer_address;  // opaque; prefill workers connect to a decode worker's
  uint32_t max_model_len = 0;    // tokens of prompt and output together
  uint32_t num_blocks = 0;
  uint32_t max_sequences = 0;
};

struct RouterHello {
  uint32_t wire_version = kWireVersion;
  uint32_t oldest_wire_version = kOldestWireVersion;
  std::string router_name;
};

struct WorkerLoad {
  uint32_t total_blocks = 0;
  uint32_t free_blocks = 0;    // FREE and CACHED: what new work could take
  uint32_t booked_blocks = 0;  // decode: ledger
  uint32_t running = 0;        // sequences or jobs in compute
  uint32_t waiting = 0;
  uint64_t waiting_tokens = 0;  // tokens that queued work still has to compute
};

// Sent by the worker's core every heartbeat interval, and with every batch of other messages.
struct WorkerHeartbeat {
  Duration progress_age{};  // since the runner last finished a layer or step while it had work;
                            // zero when idle
  bool draining = false;
  WorkerLoad load;
};

struct RouterHeartbeat {};

using RouterToWorker =
    std::variant<RouterHello, Generate, Assign, Cancel, PrefillJob, CancelJob, RouterHeartbeat>;
using WorkerToRouter =
    std::variant<WorkerHello, Booked, Refused, TokenFrame, FillLost, JobEnded, WorkerHeartbeat>;

inline constexpr Duration kHeartbeatInterval = std::chrono::milliseconds(350);
// A session that was silent for this long is dead.
inline constexpr Duration kSessionSilenceLimit = std::chrono::milliseconds(1750);

}  // namespace tandem
