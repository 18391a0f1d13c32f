#include "decode_worker/core/decode_core.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/check.h"
#include "common/base/deadline.h"

namespace tandem {

DecodeCore::DecodeCore(const DecodeCoreOptions& options, KvCache* cache)
    : options_(options),
      cache_(cache),
      ledger_(&cache->pool(), options.reserve_blocks),
      window_(options.batch_window),
      next_grant_(options.first_grant_id) {}

DecodeCore::~DecodeCore() {
  for (auto& [key, request] : requests_) {
    if (request->landing) std::move(request->landing->lease).Quarantine();
  }
}

void DecodeCore::Handle(WorkerEvent event, Instant now, WorkerEffects* effects) {
  now_ = now;
  if (auto* opened = std::get_if<SessionOpened>(&event)) {
    sessions_.insert(opened->session);
  } else if (auto* batch = std::get_if<SessionMessages>(&event)) {
    OnSessionMessages(std::move(*batch), now, effects);
  } else if (auto* closed = std::get_if<SessionClosed>(&event)) {
    sessions_.erase(closed->session);
    std::vector<Request*> owned;
    for (auto& [key, request] : requests_) {
      if (request->session == closed->session && !request->ended) owned.push_back(request.get());
    }
    for (Request* request : owned) OnCancel(*request, effects);
  } else if (auto* transfer = std::get_if<TransferEvent>(&event)) {
    OnTransferEvent(std::move(*transfer), now, effects);
  } else if (auto* runner = std::get_if<RunnerEvent>(&event)) {
    if (auto* dropped = std::get_if<SequenceDropped>(runner)) OnSequenceDropped(*dropped);
    if (auto* done = std::get_if<StepDone>(runner)) OnStepDone(*done, now, effects);
  } else {
    draining_ = true;
  }
}

void DecodeCore::OnSessionMessages(SessionMessages batch, Instant now, WorkerEffects* effects) {
  if (!sessions_.contains(batch.session)) return;
  for (RouterToWorker& message : batch.messages) {
    if (auto* generate = std::get_if<Generate>(&message)) {
      OnGenerate(batch.session, std::move(*generate), now, effects);
    } else if (auto* assign = std::get_if<Assign>(&message)) {
      Request* request = FindByName(batch.session, assign->request);
      if (request != nullptr && request->epoch == assign->epoch) {
        OnAssign(*request, *assign, now, effects);
      } else {
        ++counters_.stale_messages;
      }
    } else if (auto* cancel = std::get_if<Cancel>(&message)) {
      Request* request = FindByName(batch.session, cancel->request);
      if (request != nullptr && request->epoch == cancel->epoch) {
        OnCancel(*request, effects);
      }  // else it ended already
    }
    // Hellos and heartbeats are the session's; PrefillJob and CancelJob are for prefill workers.
  }
}

void DecodeCore::OnGenerate(SessionId session, Generate generate, Instant now,
                            WorkerEffects* effects) {
  if (Request* known = FindByName(session, generate.request)) {
    if (known->epoch >= generate.epoch) {
      return Refuse(session, generate, RefuseReason::kDuplicate, "epoch is known", effects);
    }
    OnCancel(*known, effects);
  }
  const auto size = static_cast<uint32_t>(generate.prompt.size() + generate.outputs.size());
  const auto outputs = static_cast<uint32_t>(generate.outputs.size());
  const SamplingParams& sampling = generate.sampling;
  if (draining_) {
    return Refuse(session, generate, RefuseReason::kDraining, "draining", effects);
  }
  if (generate.prompt.empty() || outputs >= sampling.max_tokens) {
    return Refuse(session, generate, RefuseReason::kInvalid, "nothing to generate", effects);
  }
  if (generate.prompt.size() + sampling.max_tokens > options_.max_model_len) {
    return Refuse(session, generate, RefuseReason::kTooLong,
                  absl::StrCat("prompt and output exceed ", options_.max_model_len, " tokens"),
                  effects);
  }
  if (requests_.size() >= options_.max_sequences) {
    return Refuse(session, generate, RefuseReason::kNoCapacity, "all sequences are taken", effects);
  }
  const uint32_t growth = std::min(sampling.max_tokens - outputs, options_.expected_output_tokens);
  auto booking = ledger_.Book(BlocksCovering(size + growth));
  if (!booking.ok()) {
    const bool never = booking.status().code() == absl::StatusCode::kOutOfRange;
    return Refuse(session, generate, never ? RefuseReason::kTooLong : RefuseReason::kNoCapacity,
                  booking.status().message(), effects);
  }

  SequenceTokens tokens(options_.prefix_root.NewChain(generate.cache_salt),
                        std::move(generate.prompt), generate.outputs);
  const SequenceKey key(++last_key_);
  auto added = std::make_unique<Request>(
      Request{.key = key,
              .session = session,
              .request = generate.request,
              .epoch = generate.epoch,
              .trace_id = std::move(generate.trace_id),
              .lane = generate.lane,
              .sampling = std::make_shared<const SamplingParams>(std::move(generate.sampling)),
              .sequence = Sequence(cache_, std::move(tokens)),
              .booking = std::move(booking).value(),
              .lease = {},
              .offer = std::nullopt,
              .landing = std::nullopt,
              .arrived = now,
              .expires = DeadlineAfter(now, generate.remaining),
              .timings = {}});
  Request& request = *added;
  requests_[key] = std::move(added);
  by_name_[{session, request.request}] = key;
  ++counters_.booked;

  const SequenceTokens& all = request.sequence.tokens();
  const size_t cached = cache_->CountPrefix(all.chain(), all.all(), request.remote_blocks());
  effects->sends.emplace_back(session, Booked{request.request, request.epoch,
                                              static_cast<uint32_t>(cached * kBlockTokens)});
  effects->notes.push_back({"booked",
                            request.trace_id,
                            {{"epoch", absl::StrCat(request.epoch)},
                             {"tokens", absl::StrCat(size)},
                             {"cached_tokens", absl::StrCat(cached * kBlockTokens)},
                             {"remote", generate.assignment ? "1" : "0"}}});
  if (generate.assignment && request.remote_blocks() > 0) {
    request.lease.AssignRemote(*generate.assignment, {0, request.remote_blocks()}, now);
    Expect(request, generate.assignment->nonce, now, effects);
  } else {
    request.lease.AssignSelf();
  }
}

void DecodeCore::OnAssign(Request& request, const Assign& assign, Instant now,
                          WorkerEffects* effects) {
  const FillLease::Change change =
      assign.assignment
          ? request.lease.AssignRemote(
                *assign.assignment,
                {request.sequence.landed() / kBlockTokens, request.remote_blocks()}, now)
          : request.lease.AssignSelf();
  if (change.revoked) Revoke(request, *change.revoked, "another filler was assigned", effects);
  if (!assign.assignment) return;
  switch (change.verdict) {
    case FillLease::Verdict::kAccepted:
      Expect(request, assign.assignment->nonce, now, effects);
      break;
    case FillLease::Verdict::kSuperseded:
      ReportLost(request, assign.assignment->attempt, "superseded", effects);
      break;
    case FillLease::Verdict::kStale:
      ++counters_.stale_messages;
      break;
  }
}

void DecodeCore::OnCancel(Request& request, WorkerEffects* effects) {
  if (request.ended) return;
  ++counters_.cancelled;
  cancels_.Cancelled(request.key, now_);
  effects->notes.push_back({"cancelled", request.trace_id, {}});
  EndRequest(request, effects);
}

void DecodeCore::Refuse(SessionId session, const Generate& generate, RefuseReason reason,
                        absl::string_view message, WorkerEffects* effects) {
  ++counters_.refused;
  effects->sends.emplace_back(
      session, Refused{generate.request, generate.epoch, reason, std::string(message)});
}

void DecodeCore::FinishRequest(Request& request, Finish finish, TokenFrame frame, Instant now,
                               WorkerEffects* effects) {
  request.timings.finished = now - request.arrived;
  finish.timings = request.timings;
  effects->notes.push_back(
      {"finished",
       request.trace_id,
       {{"outputs", absl::StrCat(request.sequence.tokens().outputs().size())},
        {"cached_tokens", absl::StrCat(request.timings.cached_tokens)},
        {"pushed_tokens", absl::StrCat(request.timings.pushed_tokens)},
        {"computed_tokens", absl::StrCat(request.timings.computed_tokens)},
        {"first_token_ms", absl::StrFormat("%.3f", ToMilliseconds(request.timings.first_token))},
        {"error", finish.error}}});
  ++(finish.reason == FinishReason::kError ? counters_.failed : counters_.finished);
  frame.finish = std::move(finish);
  effects->sends.emplace_back(request.session, std::move(frame));
  EndRequest(request, effects);
}

void DecodeCore::FailRequest(Request& request, absl::string_view error, Instant now,
                             WorkerEffects* effects) {
  TokenFrame frame{
      .request = request.request,
      .epoch = request.epoch,
      .first_index = static_cast<uint32_t>(request.sequence.tokens().outputs().size())};
  FinishRequest(request, Finish{.reason = FinishReason::kError, .error = std::string(error)},
                std::move(frame), now, effects);
}

void DecodeCore::EndRequest(Request& request, WorkerEffects* effects) {
  TANDEM_CHECK(!request.ended);
  request.ended = true;
  if (request.lease.state() == FillState::kRemote) {
    Revoke(request, request.lease.nonce(), "the request ended", effects);
  }
  by_name_.erase({request.session, request.request});
  if (request.in_step) effects->drops.push_back({step_->id, request.key});
  ForgetIfUnused(request);
}

void DecodeCore::ForgetIfUnused(Request& request) {
  if (!request.ended || request.in_step) return;
  const SequenceKey key = request.key;
  requests_.erase(key);
  cancels_.LetGo(key, now_);
}

void DecodeCore::MeetDeadlines(Instant now, WorkerEffects* effects) {
  std::vector<Request*> expired;
  for (auto& [key, request] : requests_) {
    if (request->ended) continue;
    if (now >= request->expires) {
      expired.push_back(request.get());
      continue;
    }
    if (now < request->lease.deadline()) continue;
    const uint32_t attempt =
        request->lease.state() == FillState::kRemote ? request->lease.attempt() : 0;
    std::optional<Nonce> revoked;
    if (!request->lease.Expire(now, &revoked)) continue;
    ++counters_.takeovers;
    if (revoked) Revoke(*request, *revoked, "no progress in time", effects);
    ReportLost(*request, attempt, "no progress in time", effects);
  }
  for (Request* request : expired) FailRequest(*request, "deadline passed", now, effects);
}

void DecodeCore::Advance(Instant now, Duration progress_age, WorkerEffects* effects) {
  now_ = now;
  MeetDeadlines(now, effects);
  RefuseEarlyOffers(now, effects);
  const bool short_of_blocks = !step_ && SubmitStep(now, effects);
  if (!short_of_blocks) {
    GrantOffers(now, effects);
    // An offer for what is cached already leaves its sequence ready.
    if (!step_) SubmitStep(now, effects);
  }
  if (now >= next_heartbeat_) {
    next_heartbeat_ = now + options_.heartbeat_interval;
    for (SessionId session : sessions_) {
      effects->sends.emplace_back(session, WorkerHeartbeat{progress_age, draining_, load()});
    }
  }
}

Instant DecodeCore::NextDeadline() const {
  Instant next = sessions_.empty() ? kNever : next_heartbeat_;
  next = std::min({next, early_offers_.deadline(), window_.deadline()});
  for (const auto& [key, request] : requests_) {
    if (!request->ended) next = std::min({next, request->expires, request->lease.deadline()});
  }
  return next;
}

WorkerLoad DecodeCore::load() const {
  WorkerLoad load;
  load.total_blocks = cache_->pool().num_blocks();
  load.free_blocks = cache_->pool().available();
  load.booked_blocks = ledger_.booked();
  for (const auto& [key, request] : requests_) {
    if (request->ended) continue;
    const bool running = request->lease.state() == FillState::kSelf;
    ++(running ? load.running : load.waiting);
    if (running) {
      load.waiting_tokens += request->sequence.tokens().size() - request->sequence.landed() - 1;
    }
  }
  return load;
}

DecodeCore::Request* DecodeCore::Find(SequenceKey key) {
  auto it = requests_.find(key);
  TANDEM_CHECK(it != requests_.end());
  return it->second.get();
}

DecodeCore::Request* DecodeCore::FindByName(SessionId session, RequestId request) {
  auto it = by_name_.find({session, request});
  return it == by_name_.end() ? nullptr : Find(it->second);
}

}  // namespace tandem
