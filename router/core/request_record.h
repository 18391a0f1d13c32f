// What RouterCore keeps about one request, from Submit to EndStream.
//
// Phases (the decode side):
//   kQueued  --Generate-->  kBooking  --Booked-->  kBooked  --Finish, StopMatched-->  gone
//      ^------Refused, 2 s without an answer-----'      |
//      ^------worker down, error finish, gap in tokens--'        each time with epoch + 1
//
// Fill (the prefill side; one remote party at most, named by `attempt`):
//   kAssigned  --Booked-->  kRunning  --JobEnded-->  kEnded
//        '---------'-- lost: the next attempt (kRunning again), or kSelf --'
//   kSelf is final for the epoch: the decode worker computes what is missing.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/base/ids.h"
#include "common/kv/block_hash.h"
#include "common/protocol/handshake.h"
#include "common/protocol/nonce.h"
#include "common/protocol/router_messages.h"
#include "router/core/router_events.h"

namespace tandem {

enum class RequestPhase : uint8_t { kQueued, kBooking, kBooked };
enum class FillPhase : uint8_t { kSelf, kAssigned, kRunning, kEnded };

// One life of one worker.
struct WorkerLife {
  WorkerIndex worker;
  Incarnation incarnation;
  friend bool operator==(const WorkerLife&, const WorkerLife&) = default;
};

struct RequestRecord {
  RequestId id;
  std::string trace_id;
  uint64_t arrival = 0;  // order of submission
  SamplingParams sampling;
  std::string cache_salt;
  Lane lane = Lane::kInteractive;
  Instant deadline = kNever;
  Instant submitted;

  // The token log: what the client has been given, in order. next_index is outputs.size().
  std::vector<TokenId> prompt;
  std::vector<TokenId> outputs;
  std::vector<BlockHash>
      chain;  // hashes of all full blocks of prompt and outputs, when last placed

  RequestPhase phase = RequestPhase::kQueued;
  uint32_t epoch = 0;  // counts up with every decode worker tried; the first is 1
  WorkerLife decode;   // valid unless queued
  std::vector<WorkerLife> failed_decode;     // not tried again
  std::optional<Handshake> first_handshake;  // of the first booking; a successor must agree with it
  std::string last_failure;  // said to the client when no worker is left; empty: none yet
  StreamErrorKind last_failure_kind = StreamErrorKind::kInternal;
  uint32_t failures_without_progress = 0;
  uint32_t worker_deaths = 0;
  bool token_seen_in_epoch = false;

  FillPhase fill = FillPhase::kSelf;
  uint32_t attempt = 0;  // within the epoch
  Nonce nonce;
  WorkerLife prefill;                     // valid in kAssigned, kRunning
  std::vector<WorkerLife> tried_prefill;  // in this epoch
  uint64_t job_tokens = 0;                // what the running job adds to its worker's line

  Instant queued_since;
  Instant dispatched;
  Instant timer = kNever;  // its entry in RouterCore's timers
  std::optional<Instant> first_token_at;
  Instant last_token_at;
  RequestTimings timings;

  uint32_t total_tokens() const { return static_cast<uint32_t>(prompt.size() + outputs.size()); }
};

}  // namespace tandem
