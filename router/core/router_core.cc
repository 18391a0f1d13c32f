#include "router/core/router_core.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/deadline.h"

namespace tandem {
namespace {

constexpr char kEnding[] = "the router is shutting down";

}  // namespace

const char* StreamErrorKindName(StreamErrorKind kind) {
  switch (kind) {
    case StreamErrorKind::kOverloaded:
      return "overloaded";
    case StreamErrorKind::kNoWorker:
      return "no_worker";
    case StreamErrorKind::kDeadline:
      return "deadline";
    case StreamErrorKind::kInvalid:
      return "invalid";
    case StreamErrorKind::kInternal:
      return "internal";
    case StreamErrorKind::kCancelled:
      return "cancelled";
  }
  return "unknown";
}

RouterCore::RouterCore(RouterCoreOptions options, std::function<uint64_t()> random_bits)
    : options_(std::move(options)), random_bits_(std::move(random_bits)) {
  workers_.assign(options_.num_workers, WorkerRecord(options_.prefix_blocks_per_worker));
}

// ---- workers ----

void RouterCore::WorkerUp(WorkerIndex worker, const WorkerHello& hello, Instant now) {
  WorkerRecord& w = At(worker);
  if (w.up) WorkerDown(worker, SessionEnd::kWorkerLost, "a new session replaced it", now);
  const Handshake& theirs = hello.handshake;
  std::string refusal;
  if (theirs.oldest_wire_version > kWireVersion || theirs.wire_version < kOldestWireVersion) {
    refusal = absl::StrCat("speaks wire versions ", theirs.oldest_wire_version, " to ",
                           theirs.wire_version, ", this router ", kOldestWireVersion, " to ",
                           kWireVersion);
  } else if (!options_.model_fingerprint.empty() &&
             theirs.kv.model_fingerprint != options_.model_fingerprint) {
    refusal = absl::StrCat("serves model ", theirs.kv.model_fingerprint, ", this router ",
                           options_.model_fingerprint);
  }
  if (!refusal.empty()) {
    Log(nullptr, absl::StrCat("worker ", hello.worker_name, " refused: ", refusal));
    effects_.push_back(CloseSession{worker, std::move(refusal)});
    return;
  }
  if (w.hello.handshake.incarnation != theirs.incarnation) w.prefixes.Clear();
  // More than it has room for it does not hold.
  w.prefixes.SetCapacity(std::min<size_t>(options_.prefix_blocks_per_worker, hello.num_blocks));
  w.up = true;
  w.hello = hello;
  w.load = WorkerLoad{.total_blocks = hello.num_blocks, .free_blocks = hello.num_blocks};
  w.draining = w.stalled = false;
  w.last_heard = w.last_sent = now;
  w.closed_until = w.back_until = {};
  Log(nullptr, absl::StrCat("worker ", hello.worker_name, " up: ", WorkerRoleName(hello.role),
                            ", incarnation ", theirs.incarnation.value(), ", ", hello.num_blocks,
                            " blocks, ", theirs.kv.numeric_profile));
  Settle(now);
}

void RouterCore::WorkerDown(WorkerIndex worker, SessionEnd end, absl::string_view reason,
                            Instant now) {
  WorkerRecord& w = At(worker);
  if (!w.up) return;
  w.up = false;
  const bool cut_off = end == SessionEnd::kCutOff;
  if (cut_off) w.back_until = DeadlineAfter(now, options_.return_limit);
  Log(nullptr, absl::StrCat("worker ", w.hello.worker_name, " down: ", reason));
  const WorkerLife life{worker, w.hello.handshake.incarnation};
  const auto involved = w.requests;
  for (RequestId id : involved) {
    RequestRecord* r = Find(id);
    if (r == nullptr) continue;
    if (r->phase != RequestPhase::kQueued && r->decode == life) {
      FailEpoch(*r, absl::StrCat("decode worker ", w.hello.worker_name, " lost: ", reason),
                cut_off ? EpochEnd::kCutOff : EpochEnd::kWorkerDied, now);
    } else {
      LeaveJob(*r, /*cancel=*/false);
      NextAttempt(*r, absl::StrCat("prefill worker ", w.hello.worker_name, " lost"), now);
    }
  }
  w.requests.clear();
  w.bookings_in_flight = 0;
  w.assigned_tokens = 0;
  Settle(now);
}

void RouterCore::OnMessage(WorkerIndex worker, const WorkerToRouter& message, Instant now) {
  WorkerRecord& w = At(worker);
  if (const auto* hello = std::get_if<WorkerHello>(&message)) return WorkerUp(worker, *hello, now);
  if (!w.up) {
    ++stats_.stale_messages;
    return;
  }
  w.last_heard = now;
  if (const auto* m = std::get_if<TokenFrame>(&message)) OnFrame(worker, *m, now);
  if (const auto* m = std::get_if<Booked>(&message)) OnBooked(worker, *m, now);
  if (const auto* m = std::get_if<Refused>(&message)) OnRefused(worker, *m, now);
  if (const auto* m = std::get_if<FillLost>(&message)) OnFillLost(worker, *m, now);
  if (const auto* m = std::get_if<JobEnded>(&message)) OnJobEnded(worker, *m, now);
  if (const auto* m = std::get_if<WorkerHeartbeat>(&message)) OnHeartbeat(worker, *m, now);
  Settle(now);
}

void RouterCore::OnHeartbeat(WorkerIndex worker, const WorkerHeartbeat& heartbeat, Instant now) {
  WorkerRecord& w = At(worker);
  w.load = heartbeat.load;
  w.draining = heartbeat.draining;
  if (w.load.booked_blocks < w.booked_blocks_at_refusal) w.closed_until = {};
  const bool was_stalled = std::exchange(w.stalled, heartbeat.progress_age >= options_.stall_limit);
  if (!w.stalled || was_stalled) return;
  Log(nullptr, absl::StrCat("worker ", w.hello.worker_name, " stalled: no progress for ",
                            ToSeconds(heartbeat.progress_age), " s"));
  const auto involved = w.requests;
  for (RequestId id : involved) {
    RequestRecord* r = Find(id);
    if (r == nullptr) continue;
    if (w.hello.role == WorkerRole::kDecode) {
      FailEpoch(*r, absl::StrCat("decode worker ", w.hello.worker_name, " stalled"),
                EpochEnd::kWorkerDied, now);
    } else {
      LeaveJob(*r, /*cancel=*/true);
      NextAttempt(*r, absl::StrCat("prefill worker ", w.hello.worker_name, " stalled"), now);
    }
  }
}

void RouterCore::CheckSessions(Instant now) {
  for (uint32_t i = 0; i < workers_.size(); ++i) {
    WorkerRecord& w = workers_[i];
    if (!w.up) continue;
    if (now >= DeadlineAfter(w.last_heard, kSessionSilenceLimit)) {
      effects_.push_back(CloseSession{WorkerIndex(i), "silent"});
      WorkerDown(WorkerIndex(i), SessionEnd::kWorkerLost, "silent", now);
    } else if (now - w.last_sent >= kHeartbeatInterval) {
      w.last_sent = now;
      Send(WorkerIndex(i), RouterHeartbeat{});
    }
  }
}

// ---- requests ----

void RouterCore::Submit(SubmitEvent event, Instant now) {
  TANDEM_CHECK(!event.prompt.empty() && event.sampling.max_tokens > 0);
  TANDEM_CHECK(Find(event.request) == nullptr);
  auto owned = std::make_unique<RequestRecord>();
  RequestRecord& r = *owned;
  r.id = event.request;
  r.trace_id = std::move(event.trace_id);
  r.arrival = ++arrivals_;
  r.sampling = std::move(event.sampling);
  r.cache_salt = std::move(event.cache_salt);
  r.lane = event.lane;
  r.deadline = event.deadline;
  r.submitted = r.queued_since = now;
  r.prompt = std::move(event.prompt);
  requests_.emplace(r.id, std::move(owned));
  ++stats_.submitted;
  stats_.prompt_tokens += r.prompt.size();
  SetTimer(r, r.deadline);
  if (ending_) {
    EndWithError(r, StreamErrorKind::kNoWorker, kEnding, now);
  } else {
    PlaceOrQueue(r, now);
  }
  Settle(now);
}

void RouterCore::EndAll(Instant now) {
  ending_ = true;
  queue_.clear();  // so that the room that one leaves goes to no other
  std::vector<RequestId> all;
  for (const auto& [id, request] : requests_) all.push_back(id);
  for (const RequestId id : all) {
    EndWithError(*Find(id), StreamErrorKind::kNoWorker, kEnding, now);
  }
  Settle(now);
}

void RouterCore::ClientGone(RequestId request, Instant now) {
  if (RequestRecord* r = Find(request)) {
    EndWithError(*r, StreamErrorKind::kCancelled, "the client went away", now);
  }
  Settle(now);
}

void RouterCore::StopMatched(RequestId request, Instant now) {
  if (RequestRecord* r = Find(request)) {
    End(*r, FinishReason::kStop, std::nullopt, std::nullopt, now);
  }
  Settle(now);
}

void RouterCore::Tick(Instant now) {
  while (!timers_.empty() && timers_.begin()->first <= now) {
    OnTimer(*Find(timers_.begin()->second), now);
  }
  CheckSessions(now);
  Settle(now);
}

void RouterCore::OnTimer(RequestRecord& r, Instant now) {
  if (r.deadline <= now) {
    EndWithError(r, StreamErrorKind::kDeadline, "the request's deadline passed", now);
  } else if (r.phase == RequestPhase::kQueued) {
    EndWithError(r, StreamErrorKind::kOverloaded, "no worker had room in time", now);
  } else {
    TANDEM_CHECK(r.phase == RequestPhase::kBooking);
    FailEpoch(r, "the decode worker did not answer in time", EpochEnd::kFailed, now);
  }
}

// ---- small parts ----

WorkerRecord& RouterCore::At(WorkerIndex worker) {
  TANDEM_CHECK(worker.value() < workers_.size());
  return workers_[worker.value()];
}

bool RouterCore::IsCurrent(const WorkerLife& life) const {
  const WorkerRecord& w = workers_[life.worker.value()];
  return w.up && w.hello.handshake.incarnation == life.incarnation;
}

RequestRecord* RouterCore::Find(RequestId request) {
  auto it = requests_.find(request);
  return it == requests_.end() ? nullptr : it->second.get();
}

// The request, if this decode worker serves its current epoch; otherwise counts a stale message.
RequestRecord* RouterCore::FindCurrent(RequestId request, uint32_t epoch, WorkerIndex worker) {
  RequestRecord* r = Find(request);
  if (r != nullptr && r->phase != RequestPhase::kQueued) {
    const bool current = r->epoch == epoch && r->decode.worker == worker;
    if (current || !Enabled(Protection::kEpochFence)) return r;
  }
  ++stats_.stale_messages;
  return nullptr;
}

void RouterCore::SetTimer(RequestRecord& r, Instant when) {
  if (r.timer == when) return;
  if (r.timer != kNever) timers_.erase({r.timer, r.id});
  r.timer = when;
  if (when != kNever) timers_.insert({when, r.id});
}

Instant RouterCore::NextDeadline() const {
  Instant next = timers_.empty() ? kNever : timers_.begin()->first;
  for (const WorkerRecord& w : workers_) {
    if (!queue_.empty() && w.back_until > pumped_at_) next = std::min(next, w.back_until);
    if (!w.up) continue;
    next = std::min({next, DeadlineAfter(w.last_heard, kSessionSilenceLimit),
                     w.last_sent + kHeartbeatInterval});
    if (!queue_.empty() && w.closed_until > pumped_at_) next = std::min(next, w.closed_until);
  }
  return next;
}

bool RouterCore::HasReadyWorker(WorkerRole role) const {
  return std::any_of(workers_.begin(), workers_.end(),
                     [role](const WorkerRecord& w) { return w.Takes(role); });
}

uint32_t RouterCore::MaxModelLen() const {
  uint32_t longest = 0;
  for (const WorkerRecord& w : workers_) {
    if (w.Takes(WorkerRole::kDecode)) longest = std::max(longest, w.hello.max_model_len);
  }
  return longest;
}

// Ends every event: room that it made goes to those who wait, and the gauges are true again.
void RouterCore::Settle(Instant now) {
  PumpQueue(now);
  stats_.queued = queue_.size();
  stats_.active = requests_.size();
  stats_.ready_prefill = stats_.draining_prefill = 0;
  stats_.ready_decode = stats_.draining_decode = 0;
  stats_.remembered_blocks = 0;
  for (const WorkerRecord& w : workers_) {
    stats_.remembered_blocks += w.prefixes.size();
    if (!w.up) continue;
    const bool prefill = w.hello.role == WorkerRole::kPrefill;
    const bool ready = w.Takes(w.hello.role);
    ++(prefill ? (ready ? stats_.ready_prefill : stats_.draining_prefill)
               : (ready ? stats_.ready_decode : stats_.draining_decode));
  }
}

void RouterCore::Send(WorkerIndex worker, RouterToWorker message) {
  effects_.push_back(SendToWorker{worker, std::move(message)});
}

void RouterCore::Log(const RequestRecord* r, std::string text) {
  LogFact fact;
  if (r != nullptr) {
    fact.request = r->id;
    fact.trace_id = r->trace_id;
  }
  fact.text = std::move(text);
  effects_.push_back(std::move(fact));
}

}  // namespace tandem
