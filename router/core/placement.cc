// RouterCore: choosing the decode worker of a request, and changing it.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/deadline.h"
#include "common/engine/admission.h"
#include "common/kv/block_size.h"
#include "router/core/pick_workers.h"
#include "router/core/router_core.h"

namespace tandem {
namespace {

bool Contains(const std::vector<WorkerLife>& lives, const WorkerLife& life) {
  return std::find(lives.begin(), lives.end(), life) != lives.end();
}

}  // namespace

// Gives the request to the best decode worker that is open. kWait: some worker may take it later.
// kEnded: none ever will, and the request is gone.
RouterCore::Placement RouterCore::Place(RequestRecord& r, Instant now) {
  if (r.outputs.size() >= r.sampling.max_tokens) {
    End(r, FinishReason::kLength, std::nullopt, std::nullopt, now);
    return Placement::kEnded;
  }
  const uint32_t longest = static_cast<uint32_t>(r.prompt.size()) + r.sampling.max_tokens;
  if (r.chain.size() != FullBlocks(r.total_tokens())) RebuildChain(r);

  const bool queued = queue_.contains(r.arrival);
  bool may_wait = false;
  bool too_long = false;
  std::vector<DecodeCandidate> candidates;
  for (uint32_t i = 0; i < workers_.size(); ++i) {
    const WorkerRecord& w = workers_[i];
    if (!w.Takes(WorkerRole::kDecode)) {
      may_wait |= w.hello.role == WorkerRole::kDecode && w.back_until > now;
      continue;
    }
    if (Contains(r.failed_decode, {WorkerIndex(i), w.hello.handshake.incarnation})) continue;
    if (r.first_handshake.has_value() &&
        !CheckPairing(*r.first_handshake, w.hello.handshake, options_.allow_mixed_numerics).ok()) {
      continue;  // it would continue another model's answer
    }
    if (w.hello.max_model_len < longest) {
      too_long = true;
      continue;
    }
    // While others wait, a worker is asked for one booking at a time: if it is full, one refusal
    // tells, not one for everybody in the queue.
    if (w.closed_until > now || (queued && w.bookings_in_flight > 0)) {
      may_wait = true;
      continue;
    }
    candidates.push_back(
        {.worker = WorkerIndex(i),
         .cached_tokens = static_cast<uint32_t>(w.prefixes.CountLeading(r.chain)) * kBlockTokens,
         .free_blocks = w.load.free_blocks,
         .running = std::max<uint32_t>(w.load.running + w.load.waiting,
                                       static_cast<uint32_t>(w.requests.size()))});
  }
  const size_t others_on_workers = requests_.size() - queue_.size() - (queued ? 0 : 1);
  if (!candidates.empty() && others_on_workers >= options_.max_concurrent) return Placement::kWait;
  const auto worker =
      PickDecode(r.total_tokens(), BlocksCovering(longest), candidates, r.id.value());
  if (worker.has_value()) {
    Dispatch(r, *worker, now);
    return Placement::kDispatched;
  }
  if (may_wait) return Placement::kWait;
  if (!r.last_failure.empty()) {
    EndWithError(r, r.last_failure_kind, r.last_failure, now);
  } else if (too_long) {
    EndWithError(r, StreamErrorKind::kInvalid,
                 absl::StrCat("prompt and max_tokens together are ", longest,
                              " tokens, more than any ready worker takes"),
                 now);
  } else {
    EndWithError(r, StreamErrorKind::kNoWorker, "no decode worker is ready", now);
  }
  return Placement::kEnded;
}

void RouterCore::PlaceOrQueue(RequestRecord& r, Instant now) {
  // Nobody overtakes those who wait, but in the order of the queue.
  if (!queue_.empty()) return Enqueue(r, now);
  if (Place(r, now) == Placement::kWait) Enqueue(r, now);
}

// A request that already has output, or that a worker refused, keeps its place by arrival and is
// not counted against the limit: it was admitted before.
void RouterCore::Enqueue(RequestRecord& r, Instant now) {
  if (queue_.size() >= options_.max_queued && r.epoch == 0) {
    RequestRecord* const leaves = r.lane == Lane::kBulk ? &r : YoungestBulkInQueue();
    EndWithError(leaves == nullptr ? r : *leaves, StreamErrorKind::kOverloaded, "the queue is full",
                 now);
    if (leaves == nullptr || leaves == &r) return;
  }
  queue_.emplace(r.arrival, r.id);
  SetTimer(r, std::min(r.deadline, DeadlineAfter(r.queued_since, options_.queue_limit)));
}

// Of those that no worker was asked for yet; null without any.
RequestRecord* RouterCore::YoungestBulkInQueue() {
  for (auto it = queue_.rbegin(); it != queue_.rend(); ++it) {
    RequestRecord* const r = Find(it->second);
    if (r->lane == Lane::kBulk && r->epoch == 0) return r;
  }
  return nullptr;
}

bool RouterCore::MayPlaceQueued(Instant now) const {
  const bool any_open = std::any_of(workers_.begin(), workers_.end(), [now](const WorkerRecord& w) {
    return w.Takes(WorkerRole::kDecode) && w.closed_until <= now && w.bookings_in_flight == 0;
  });
  return any_open || !HasReadyWorker(WorkerRole::kDecode);
}

void RouterCore::PumpQueue(Instant now) {
  pumped_at_ = now;
  if (queue_.empty() || !MayPlaceQueued(now)) return;
  std::vector<RequestRecord*> waiting;
  waiting.reserve(queue_.size());
  for (const auto& [arrival, id] : queue_) waiting.push_back(Find(id));
  SortForAdmission(&waiting, now, [](const RequestRecord& r) { return r.queued_since; });
  for (RequestRecord* r : waiting) {
    if (!MayPlaceQueued(now)) return;
    const uint64_t arrival = r->arrival;
    if (Place(*r, now) == Placement::kDispatched) queue_.erase(arrival);
  }
}

void RouterCore::Dispatch(RequestRecord& r, WorkerIndex worker, Instant now) {
  WorkerRecord& w = At(worker);
  ++r.epoch;
  r.decode = {worker, w.hello.handshake.incarnation};
  r.phase = RequestPhase::kBooking;
  r.dispatched = now;
  r.attempt = 0;
  r.fill = FillPhase::kSelf;
  r.tried_prefill.clear();
  r.token_seen_in_epoch = false;
  ++r.timings.epochs;
  ++w.bookings_in_flight;
  w.requests.insert(r.id);
  SetTimer(r, std::min(r.deadline, DeadlineAfter(now, options_.booked_limit)));

  Generate generate{.request = r.id,
                    .trace_id = r.trace_id,
                    .epoch = r.epoch,
                    .prompt = r.prompt,
                    .outputs = r.outputs,
                    .sampling = r.sampling,
                    .cache_salt = r.cache_salt,
                    .remaining = std::max(Duration::zero(), r.deadline - now),
                    .assignment = std::nullopt,
                    .lane = r.lane};
  // Whether the decode worker holds the prefix is its Booked's word, not our guess: an order to
  // fill by itself could not be taken back.
  if (!WorthPushing(r.total_tokens(), 0, options_.short_suffix_tokens)) {
    ++stats_.fills_short;
  } else if (const auto prefill = ChoosePrefill(r); prefill.has_value()) {
    generate.assignment = NewAssignment(r, *prefill);
    r.fill = FillPhase::kAssigned;
  } else {
    ++stats_.fills_no_prefill;
  }
  Send(worker, std::move(generate));
}

void RouterCore::OnBooked(WorkerIndex worker, const Booked& message, Instant now) {
  RequestRecord* r = FindCurrent(message.request, message.epoch, worker);
  if (r == nullptr) return;
  if (r->phase != RequestPhase::kBooking) {
    ++stats_.invalid_messages;
    return;
  }
  WorkerRecord& w = At(worker);
  --w.bookings_in_flight;
  w.prefixes.Learn(r->chain);
  r->phase = RequestPhase::kBooked;
  SetTimer(*r, r->deadline);
  if (!r->first_handshake.has_value()) {
    r->first_handshake = w.hello.handshake;
    r->timings.queued = r->dispatched - r->submitted;
    r->timings.route = now - r->dispatched;
    r->timings.cached_tokens =
        std::min(message.cached_tokens, static_cast<uint32_t>(r->prompt.size()));
  }
  if (r->fill == FillPhase::kAssigned) StartFill(*r, message.cached_tokens, now);
}

void RouterCore::OnRefused(WorkerIndex worker, const Refused& message, Instant now) {
  RequestRecord* r = FindCurrent(message.request, message.epoch, worker);
  if (r == nullptr) return;
  if (r->phase != RequestPhase::kBooking) {
    ++stats_.invalid_messages;
    return FailEpoch(*r, "the decode worker refused what it had booked", EpochEnd::kFailed, now);
  }
  WorkerRecord& w = At(worker);
  const WorkerLife life = r->decode;
  switch (message.reason) {
    case RefuseReason::kNoCapacity:
      w.closed_until = now + options_.refusal_pause;
      w.booked_blocks_at_refusal = w.load.booked_blocks;
      break;
    case RefuseReason::kDraining:
      w.draining = true;
      break;
    case RefuseReason::kTooLong:
    case RefuseReason::kInvalid:
      r->failed_decode.push_back(life);
      r->last_failure_kind = StreamErrorKind::kInvalid;
      r->last_failure = message.message;
      break;
    case RefuseReason::kDuplicate:
      return FailEpoch(*r, "the decode worker had this epoch already", EpochEnd::kFailed, now);
  }
  LeaveDecode(*r, /*cancel=*/false);
  PlaceOrQueue(*r, now);
}

// The request is on no decode worker any more; the caller places it again or ends it.
void RouterCore::LeaveDecode(RequestRecord& r, bool cancel) {
  if (r.phase == RequestPhase::kQueued) return;
  WorkerRecord& w = At(r.decode.worker);
  w.requests.erase(r.id);
  if (IsCurrent(r.decode)) {
    if (r.phase == RequestPhase::kBooking) --w.bookings_in_flight;
    if (cancel) Send(r.decode.worker, Cancel{r.id, r.epoch});
  }
  r.phase = RequestPhase::kQueued;
  SetTimer(r, r.deadline);
}

// The current epoch is over without an end: another decode worker, or the same one where only our
// session with it ended, goes on from the token log.
void RouterCore::FailEpoch(RequestRecord& r, absl::string_view reason, EpochEnd end, Instant now) {
  Log(&r, absl::StrCat("epoch ", r.epoch, " failed after ", r.outputs.size(), " tokens: ", reason));
  if (end != EpochEnd::kCutOff) r.failed_decode.push_back(r.decode);
  r.last_failure_kind = StreamErrorKind::kNoWorker;
  r.last_failure = std::string(reason);
  LeaveJob(r, /*cancel=*/true);
  LeaveDecode(r, /*cancel=*/true);
  ++r.failures_without_progress;
  if (end == EpochEnd::kWorkerDied && ++r.worker_deaths >= options_.max_worker_deaths) {
    ++stats_.poisoned;
    return EndWithError(r, StreamErrorKind::kInternal,
                        absl::StrCat("the request's workers died ", r.worker_deaths, " times"),
                        now);
  }
  if (r.failures_without_progress >= options_.max_failures) {
    return EndWithError(r, StreamErrorKind::kInternal, std::string(reason), now);
  }
  ++stats_.decode_restarts;
  r.queued_since = now;
  PlaceOrQueue(r, now);
}

void RouterCore::RebuildChain(RequestRecord& r) const {
  std::vector<TokenId> tokens = r.prompt;
  tokens.insert(tokens.end(), r.outputs.begin(), r.outputs.end());
  const BlockHash root =
      HashRoot(options_.hash_secret, r.cache_salt, options_.model_fingerprint, "");
  r.chain = HashBlocks(options_.hash_secret, root, tokens);
}

}  // namespace tandem
