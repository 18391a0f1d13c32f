// RouterCore decides everything the router decides: which workers serve a request, when it moves to
// others, which tokens count, when it has ended. A deterministic state machine: the shell hands it
// events with the time and carries out the effects it takes out afterwards.
//
// Thread-compatible: owned by one thread. Knows no socket, clock, thread or text.
// Bounds: `max_queued` waiting requests; every wait ends at NextDeadline() or before.
// Invariants:
//  - each Submit gets exactly one EndStream, and then no state of it is left here;
//  - tokens leave in the order of their index, each once, whatever workers do;
//  - at most one epoch and one attempt of a request are current; all others have been cancelled.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "common/base/clock.h"
#include "common/kv/block_hash.h"
#include "common/protocol/router_messages.h"
#include "router/core/request_record.h"
#include "router/core/router_events.h"
#include "router/core/worker_record.h"

namespace tandem {

struct RouterCoreOptions {
  uint32_t num_workers = 0;
  uint32_t short_suffix_tokens = 64;  // fewer missing tokens than this: no prefill worker
  uint32_t max_attempts = 2;          // prefill workers per epoch
  uint32_t max_failures = 3;          // of decode workers, while nothing new was emitted
  uint32_t max_worker_deaths = 2;     // then the request itself is suspected
  size_t max_concurrent = 1024;       // requests on workers; beyond it they wait
  size_t max_queued = 256;            // waiting requests; beyond it they are refused
  Duration queue_limit = std::chrono::seconds(10);
  Duration booked_limit = std::chrono::seconds(2);
  Duration return_limit = std::chrono::seconds(2);  // for the session after one that was cut off
  // Decode fills by itself when nothing was committed for fallback_base plus this per missing
  // token.
  Duration fallback_base = std::chrono::seconds(5);
  Duration fallback_per_token = std::chrono::milliseconds(10);
  Duration stall_limit = std::chrono::seconds(30);  // runner without progress: its requests move
  Duration refusal_pause = std::chrono::milliseconds(100);  // before a full worker is asked again
  size_t prefix_blocks_per_worker = 1u << 16;  // remembered; never more than the worker has
  bool allow_mixed_numerics = false;
  HashSecret hash_secret{};
  std::string model_fingerprint;  // empty: any; otherwise workers with another one are refused
};

class RouterCore {
 public:
  // `random_bits` draws from a source that nobody can predict: nonces are rights to write.
  RouterCore(RouterCoreOptions options, std::function<uint64_t()> random_bits);

  // Events. A worker index at or beyond num_workers is our own bug.
  void WorkerUp(WorkerIndex worker, const WorkerHello& hello, Instant now);
  void WorkerDown(WorkerIndex worker, SessionEnd end, absl::string_view reason, Instant now);
  void OnMessage(WorkerIndex worker, const WorkerToRouter& message, Instant now);
  // The shell is not listening to the worker, whose silence up to now means nothing.
  void NotListening(WorkerIndex worker, Instant now) { At(worker).last_heard = now; }
  void Submit(SubmitEvent event, Instant now);
  void ClientGone(RequestId request, Instant now);
  void StopMatched(RequestId request, Instant now);
  // The router ends: so does every request, with an error that says so, also one that comes later.
  void EndAll(Instant now);
  void Tick(Instant now);

  // What the shell has to do now, in order.
  std::vector<RouterEffect> TakeEffects() { return std::exchange(effects_, {}); }
  // The same; what memory `effects`, which is empty, has is used for the next ones.
  void TakeEffects(std::vector<RouterEffect>* effects) { effects->swap(effects_); }
  // When to call Tick at the latest; kNever when nothing waits.
  Instant NextDeadline() const;

  const RouterStats& stats() const { return stats_; }
  size_t active_requests() const { return requests_.size(); }
  bool HasReadyWorker(WorkerRole role) const;
  // The longest sequence that some ready decode worker takes; 0 without one.
  uint32_t MaxModelLen() const;

 private:
  enum class Placement { kDispatched, kWait, kEnded };
  enum class EpochEnd { kFailed, kWorkerDied, kCutOff };

  // router_core.cc: events and timers.
  WorkerRecord& At(WorkerIndex worker);
  bool IsCurrent(const WorkerLife& life) const;
  RequestRecord* Find(RequestId request);
  RequestRecord* FindCurrent(RequestId request, uint32_t epoch, WorkerIndex decode_worker);
  void SetTimer(RequestRecord& r, Instant when);
  void OnTimer(RequestRecord& r, Instant now);
  void OnHeartbeat(WorkerIndex worker, const WorkerHeartbeat& heartbeat, Instant now);
  void CheckSessions(Instant now);
  void Settle(Instant now);
  void Send(WorkerIndex worker, RouterToWorker message);
  void Log(const RequestRecord* r, std::string text);

  // stream.cc: tokens and ends.
  void OnFrame(WorkerIndex worker, const TokenFrame& frame, Instant now);
  bool FrameIsValid(const RequestRecord& r, const TokenFrame& frame) const;
  void AcceptTokens(RequestRecord& r, const TokenFrame& frame, Instant now);
  void End(RequestRecord& r, FinishReason reason, std::optional<TokenId> stop_token,
           std::optional<StreamError> error, Instant now);
  void EndWithError(RequestRecord& r, StreamErrorKind kind, std::string message, Instant now);
  Duration RetryAfter() const;

  // placement.cc: choosing and changing the decode worker.
  Placement Place(RequestRecord& r, Instant now);
  void PlaceOrQueue(RequestRecord& r, Instant now);
  void Enqueue(RequestRecord& r, Instant now);
  RequestRecord* YoungestBulkInQueue();
  bool MayPlaceQueued(Instant now) const;
  void PumpQueue(Instant now);
  void Dispatch(RequestRecord& r, WorkerIndex worker, Instant now);
  void OnBooked(WorkerIndex worker, const Booked& message, Instant now);
  void OnRefused(WorkerIndex worker, const Refused& message, Instant now);
  void LeaveDecode(RequestRecord& r, bool cancel);
  void FailEpoch(RequestRecord& r, absl::string_view reason, EpochEnd end, Instant now);
  void RebuildChain(RequestRecord& r) const;

  // fill.cc: choosing and changing the prefill worker.
  std::optional<WorkerIndex> ChoosePrefill(const RequestRecord& r) const;
  Duration FallbackAfter(const RequestRecord& r) const;
  FillAssignment NewAssignment(RequestRecord& r, WorkerIndex prefill);
  void StartFill(RequestRecord& r, uint32_t cached_tokens, Instant now);
  void SendJob(RequestRecord& r, Instant now);
  void LeaveJob(RequestRecord& r, bool cancel);
  void NextAttempt(RequestRecord& r, absl::string_view reason, Instant now);
  void OnJobEnded(WorkerIndex worker, const JobEnded& message, Instant now);
  void OnFillLost(WorkerIndex worker, const FillLost& message, Instant now);

  const RouterCoreOptions options_;
  const std::function<uint64_t()> random_bits_;
  std::vector<WorkerRecord> workers_;
  absl::flat_hash_map<RequestId, std::unique_ptr<RequestRecord>> requests_;
  absl::btree_map<uint64_t, RequestId> queue_;  // by arrival
  absl::btree_set<std::pair<Instant, RequestId>> timers_;
  std::vector<RouterEffect> effects_;
  RouterStats stats_;
  uint64_t arrivals_ = 0;
  bool ending_ = false;
  Instant pumped_at_{};
  Instant last_end_{};
  double end_interval_s_ = 0;  // moving average of the time between two ends, for Retry-After
};

}  // namespace tandem
