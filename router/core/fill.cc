// RouterCore: choosing the prefill worker of a request, and changing it.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/kv/block_size.h"
#include "router/core/pick_workers.h"
#include "router/core/router_core.h"

namespace tandem {

// The best prefill worker that may push to the request's decode worker and was not tried in this
// epoch.
std::optional<WorkerIndex> RouterCore::ChoosePrefill(const RequestRecord& r) const {
  const WorkerRecord& decode = workers_[r.decode.worker.value()];
  std::vector<PrefillCandidate> candidates;
  for (uint32_t i = 0; i < workers_.size(); ++i) {
    const WorkerRecord& w = workers_[i];
    if (!w.Takes(WorkerRole::kPrefill)) continue;
    const WorkerLife life{WorkerIndex(i), w.hello.handshake.incarnation};
    if (std::find(r.tried_prefill.begin(), r.tried_prefill.end(), life) != r.tried_prefill.end()) {
      continue;
    }
    if (!CheckPairing(w.hello.handshake, decode.hello.handshake, options_.allow_mixed_numerics)
             .ok()) {
      continue;
    }
    candidates.push_back(
        {.worker = WorkerIndex(i),
         .cached_tokens = static_cast<uint32_t>(w.prefixes.CountLeading(r.chain)) * kBlockTokens,
         .queued_tokens = std::max(w.load.waiting_tokens, w.assigned_tokens)});
  }
  return PickPrefill(r.total_tokens(), candidates, r.id.value());
}

// A granted bulk job may stand still behind interactive ones on a prefill worker that is well.
Duration RouterCore::FallbackAfter(const RequestRecord& r) const {
  constexpr int kBulkFactor = 4;
  const Duration usual = options_.fallback_base + options_.fallback_per_token * r.total_tokens();
  return r.lane == Lane::kBulk ? kBulkFactor * usual : usual;
}

FillAssignment RouterCore::NewAssignment(RequestRecord& r, WorkerIndex prefill) {
  r.prefill = {prefill, At(prefill).hello.handshake.incarnation};
  r.tried_prefill.push_back(r.prefill);
  r.nonce = Nonce{random_bits_(), random_bits_()};
  return {.attempt = ++r.attempt,
          .nonce = r.nonce,
          .prefill = r.prefill.incarnation,
          .fallback_after = FallbackAfter(r)};
}

// Booked says how much is missing: little of it is computed by decode itself.
void RouterCore::StartFill(RequestRecord& r, uint32_t cached_tokens, Instant now) {
  if (!WorthPushing(r.total_tokens(), cached_tokens, options_.short_suffix_tokens)) {
    ++stats_.fills_short;
    r.fill = FillPhase::kSelf;
    Send(r.decode.worker, Assign{r.id, r.epoch, std::nullopt});
    return;
  }
  if (!IsCurrent(r.prefill) || !At(r.prefill.worker).Takes(WorkerRole::kPrefill)) {
    return NextAttempt(r, "the prefill worker went before its job was sent", now);
  }
  ++stats_.fills_remote;
  SendJob(r, now);
}

void RouterCore::SendJob(RequestRecord& r, Instant now) {
  WorkerRecord& w = At(r.prefill.worker);
  const WorkerRecord& decode = At(r.decode.worker);
  PrefillJob job{.request = r.id,
                 .trace_id = r.trace_id,
                 .epoch = r.epoch,
                 .attempt = r.attempt,
                 .nonce = r.nonce,
                 .tokens = r.prompt,
                 .cache_salt = r.cache_salt,
                 .decode_address = decode.hello.transfer_address,
                 .decode = r.decode.incarnation,
                 .remaining = std::max(Duration::zero(), r.deadline - now),
                 .lane = r.lane};
  job.tokens.insert(job.tokens.end(), r.outputs.begin(), r.outputs.end());
  const size_t known = w.prefixes.CountLeading(r.chain) * kBlockTokens;
  r.job_tokens = job.tokens.size() - std::min(job.tokens.size(), known);
  w.assigned_tokens += r.job_tokens;
  w.requests.insert(r.id);
  w.prefixes.Learn(r.chain);
  r.fill = FillPhase::kRunning;
  ++r.timings.attempts;
  Send(r.prefill.worker, std::move(job));
}

// No job of this request runs any more.
void RouterCore::LeaveJob(RequestRecord& r, bool cancel) {
  if (r.fill != FillPhase::kRunning) return;
  r.fill = FillPhase::kEnded;
  WorkerRecord& w = At(r.prefill.worker);
  w.requests.erase(r.id);
  if (!IsCurrent(r.prefill)) return;
  w.assigned_tokens -= r.job_tokens;
  if (cancel) Send(r.prefill.worker, CancelJob{r.id, r.epoch, r.attempt});
}

// The current attempt is lost: another prefill worker, or decode itself.
void RouterCore::NextAttempt(RequestRecord& r, absl::string_view reason, Instant now) {
  LeaveJob(r, /*cancel=*/true);
  if (r.fill == FillPhase::kSelf || r.token_seen_in_epoch) return;
  ++stats_.fills_reassigned;
  std::optional<WorkerIndex> next;
  if (r.attempt < options_.max_attempts) next = ChoosePrefill(r);
  Log(&r, absl::StrCat("fill attempt ", r.attempt, " lost: ", reason, "; ",
                       next.has_value() ? At(*next).hello.worker_name : "decode", " goes on"));
  if (!next.has_value()) {
    r.fill = FillPhase::kSelf;
    Send(r.decode.worker, Assign{r.id, r.epoch, std::nullopt});
    return;
  }
  Send(r.decode.worker, Assign{r.id, r.epoch, NewAssignment(r, *next)});
  SendJob(r, now);
}

void RouterCore::OnJobEnded(WorkerIndex worker, const JobEnded& message, Instant now) {
  RequestRecord* r = Find(message.request);
  if (r == nullptr || r->fill != FillPhase::kRunning || r->epoch != message.epoch ||
      r->attempt != message.attempt || r->prefill.worker != worker) {
    ++stats_.stale_messages;
    return;
  }
  LeaveJob(*r, /*cancel=*/false);
  switch (message.result) {
    case JobResult::kPushed:
      r->timings.prefill_queued = message.queued;
      r->timings.prefill = message.computing;
      r->timings.push = message.exposed;
      r->timings.pushed_bytes += message.pushed_bytes;
      return;
    case JobResult::kRevoked:
      // The decode worker took the lease back and says so itself: its FillLost decides.
      return;
    case JobResult::kRefused:
      At(worker).prefixes.Forget(r->chain);
      [[fallthrough]];
    case JobResult::kAbandoned:
    case JobResult::kCancelled:
      return NextAttempt(*r, absl::StrCat("the prefill worker gave up: ", message.message), now);
  }
}

void RouterCore::OnFillLost(WorkerIndex worker, const FillLost& message, Instant now) {
  RequestRecord* r = FindCurrent(message.request, message.epoch, worker);
  if (r == nullptr) return;
  const bool has_remote = r->fill == FillPhase::kRunning || r->fill == FillPhase::kEnded;
  // Taking over is final for the epoch, even if our next Assign crossed the message.
  const bool counts =
      message.filling_itself ? message.attempt <= r->attempt : message.attempt == r->attempt;
  if (r->phase != RequestPhase::kBooked || !has_remote || !counts) {
    ++stats_.stale_messages;
    return;
  }
  if (!message.filling_itself) return NextAttempt(*r, message.reason, now);
  Log(r, absl::StrCat("fill attempt ", r->attempt, " lost: ", message.reason,
                      "; decode fills by itself"));
  ++stats_.fills_reassigned;
  LeaveJob(*r, /*cancel=*/true);
  r->fill = FillPhase::kSelf;
}

}  // namespace tandem
