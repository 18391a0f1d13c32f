#include "prefill_worker/core/prefill_core.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/check.h"
#include "common/base/deadline.h"

namespace tandem {
namespace {

std::string Ms(Duration d) { return absl::StrFormat("%.3f", ToMilliseconds(d)); }

const char* JobResultName(JobResult result) {
  switch (result) {
    case JobResult::kPushed:
      return "pushed";
    case JobResult::kAbandoned:
      return "abandoned";
    case JobResult::kRevoked:
      return "revoked";
    case JobResult::kCancelled:
      return "cancelled";
    case JobResult::kRefused:
      return "refused";
  }
  return "unknown";
}

}  // namespace

PrefillCore::PrefillCore(const PrefillCoreOptions& options, KvCache* cache)
    : options_(options), cache_(cache), window_(options.batch_window) {
  TANDEM_CHECK(options_.chunk_tokens > 0 && options_.chunk_tokens % kBlockTokens == 0);
  TANDEM_CHECK(options_.num_layers > 0 && options_.max_segment_blocks > 0);
}

void PrefillCore::Handle(WorkerEvent event, Instant now, WorkerEffects* effects) {
  now_ = now;
  if (auto* opened = std::get_if<SessionOpened>(&event)) {
    sessions_.insert(opened->session);
  } else if (auto* batch = std::get_if<SessionMessages>(&event)) {
    OnSessionMessages(std::move(*batch), now, effects);
  } else if (auto* closed = std::get_if<SessionClosed>(&event)) {
    sessions_.erase(closed->session);
    EndJobsIf([&](const Job& job) { return job.session == closed->session; }, JobResult::kCancelled,
              "router session ended", /*tell_peer=*/true, now, effects);
  } else if (auto* transfer = std::get_if<TransferEvent>(&event)) {
    OnTransferEvent(std::move(*transfer), now, effects);
  } else if (auto* runner = std::get_if<RunnerEvent>(&event)) {
    if (auto* layer = std::get_if<LayerDone>(runner)) OnLayerDone(*layer, effects);
    if (auto* dropped = std::get_if<SequenceDropped>(runner)) OnSequenceDropped(*dropped);
    if (auto* step = std::get_if<StepDone>(runner)) OnStepDone(*step, now, effects);
  } else {
    draining_ = true;
  }
}

void PrefillCore::OnSessionMessages(SessionMessages batch, Instant now, WorkerEffects* effects) {
  if (!sessions_.contains(batch.session)) return;
  for (RouterToWorker& message : batch.messages) {
    if (auto* job = std::get_if<PrefillJob>(&message)) {
      OnPrefillJob(batch.session, std::move(*job), now, effects);
    } else if (auto* cancel = std::get_if<CancelJob>(&message)) {
      auto it = by_name_.find({batch.session, cancel->request, cancel->epoch, cancel->attempt});
      if (it == by_name_.end()) continue;  // ended already
      EndJob(*Find(it->second), JobResult::kCancelled, "cancelled by the router",
             /*tell_peer=*/true, now, effects);
    }
    // Hellos and heartbeats are the session's; Generate, Assign and Cancel are for decode workers.
  }
}

void PrefillCore::OnPrefillJob(SessionId session, PrefillJob request, Instant now,
                               WorkerEffects* effects) {
  const JobName name{session, request.request, request.epoch, request.attempt};
  if (by_name_.contains(name) || by_nonce_.contains(request.nonce)) {
    ++counters_.stale_messages;
    return;  // a repeated message: the first one is being served
  }
  const uint32_t target = SharableBlocks(static_cast<uint32_t>(request.tokens.size()));
  if (draining_) return Refuse(session, request, "draining", effects);
  if (jobs_.size() >= options_.max_jobs) return Refuse(session, request, "queue full", effects);
  if (request.tokens.size() > options_.max_model_len || target > cache_->pool().num_blocks()) {
    return Refuse(session, request, "prompt too long for this worker", effects);
  }
  SequenceTokens tokens(options_.prefix_root.NewChain(request.cache_salt),
                        std::move(request.tokens));
  request.tokens.clear();
  const Lane lane = request.lane;
  auto job = std::make_unique<Job>(Job{.key = SequenceKey(++last_key_),
                                       .session = session,
                                       .request = std::move(request),
                                       .sequence = Sequence(cache_, std::move(tokens)),
                                       .lane = lane,
                                       .target_blocks = target,
                                       .arrived = now,
                                       .started = now,
                                       .computed = now,
                                       .expires = now});
  job->expires = DeadlineAfter(now, job->request.remaining);
  by_name_[name] = job->key;
  by_nonce_[job->request.nonce] = job->key;
  Job& added = *job;
  jobs_[job->key] = std::move(job);
  if (target == 0) {
    EndJob(added, JobResult::kPushed, "nothing to push", /*tell_peer=*/false, now, effects);
  }
}

void PrefillCore::Advance(Instant now, Duration progress_age, WorkerEffects* effects) {
  now_ = now;
  EndJobsIf([&](const Job& job) { return now >= job.expires; }, JobResult::kAbandoned,
            "deadline passed", /*tell_peer=*/true, now, effects);
  EndJobsIf([&](const Job& job) { return now >= job.push_deadline; }, JobResult::kAbandoned,
            "no acknowledgement in time", /*tell_peer=*/true, now, effects);
  StartJobs(now, effects);
  while (steps_.size() < kMaxStepsInFlight && SubmitStep(now, effects)) {
  }
  if (now >= next_heartbeat_) {
    next_heartbeat_ = now + options_.heartbeat_interval;
    for (SessionId session : sessions_) {
      effects->sends.emplace_back(session, WorkerHeartbeat{progress_age, draining_, load()});
    }
  }
}

Instant PrefillCore::NextDeadline() const {
  Instant next = std::min(window_.deadline(), sessions_.empty() ? kNever : next_heartbeat_);
  for (const auto& [key, job] : jobs_) {
    if (!job->ended) next = std::min({next, job->expires, job->push_deadline});
  }
  return next;
}

void PrefillCore::EndJob(Job& job, JobResult result, absl::string_view message, bool tell_peer,
                         Instant now, WorkerEffects* effects) {
  TANDEM_CHECK(!job.ended);
  job.ended = true;
  if (result == JobResult::kCancelled) cancels_.Cancelled(job.key, now);
  ++counters_.jobs_by_result[static_cast<size_t>(result)];
  const PrefillJob& request = job.request;
  const uint32_t computed_tokens =
      job.running ? job.sequence.landed() - std::min(job.sequence.landed(), job.cached_tokens) : 0;
  JobEnded report{.request = request.request,
                  .epoch = request.epoch,
                  .attempt = request.attempt,
                  .result = result,
                  .message = std::string(message),
                  .cached_tokens = job.cached_tokens,
                  .computed_tokens = computed_tokens,
                  .pushed_bytes = job.pushed_bytes,
                  .queued = (job.running ? job.started : now) - job.arrived,
                  .computing = job.computed - job.started,
                  .exposed = job.running ? now - job.computed : Duration{}};
  effects->notes.push_back(
      job.Note("job ended", {{"result", JobResultName(result)},
                             {"why", report.message},
                             {"cached_tokens", absl::StrCat(report.cached_tokens)},
                             {"computed_tokens", absl::StrCat(report.computed_tokens)},
                             {"pushed_bytes", absl::StrCat(report.pushed_bytes)},
                             {"queued_ms", Ms(report.queued)},
                             {"computing_ms", Ms(report.computing)},
                             {"exposed_ms", Ms(report.exposed)}}));
  if (sessions_.contains(job.session)) effects->sends.emplace_back(job.session, std::move(report));
  if (tell_peer && job.running) {
    effects->transfers.push_back(
        SendPeerMessage{request.decode, Abandon{request.nonce, std::string(message)}});
  }
  by_name_.erase({job.session, request.request, request.epoch, request.attempt});
  by_nonce_.erase(request.nonce);
  if (job.push) by_grant_.erase({request.decode, job.push->grant});
  for (const auto& [id, step] : steps_) {
    for (const StepPart& part : step.parts) {
      if (part.key == job.key) effects->drops.push_back({id, job.key});
    }
  }
  ForgetIfUnused(job.key);
}

void PrefillCore::ForgetIfUnused(SequenceKey key) {
  auto it = jobs_.find(key);
  TANDEM_CHECK(it != jobs_.end());
  if (!it->second->ended || it->second->in_use()) return;
  jobs_.erase(it);
  cancels_.LetGo(key, now_);
}

void PrefillCore::EndJobsIf(const std::function<bool(const Job&)>& matches, JobResult result,
                            absl::string_view message, bool tell_peer, Instant now,
                            WorkerEffects* effects) {
  for (auto it = jobs_.begin(); it != jobs_.end();) {
    Job& job = *(it++)->second;  // ending a job may erase it
    if (!job.ended && matches(job)) EndJob(job, result, message, tell_peer, now, effects);
  }
}

void PrefillCore::Refuse(SessionId session, const PrefillJob& request, absl::string_view why,
                         WorkerEffects* effects) {
  ++counters_.jobs_by_result[static_cast<size_t>(JobResult::kRefused)];
  effects->sends.emplace_back(session, JobEnded{.request = request.request,
                                                .epoch = request.epoch,
                                                .attempt = request.attempt,
                                                .result = JobResult::kRefused,
                                                .message = std::string(why)});
}

WorkerLoad PrefillCore::load() const {
  WorkerLoad load;
  load.total_blocks = cache_->pool().num_blocks();
  load.free_blocks = cache_->pool().available();
  for (const auto& [key, job] : jobs_) {
    if (job->ended) continue;
    ++(job->running ? load.running : load.waiting);
    load.waiting_tokens += job->target_blocks * kBlockTokens - job->sequence.landed();
  }
  return load;
}

PrefillCore::Job* PrefillCore::Find(SequenceKey key) {
  auto it = jobs_.find(key);
  TANDEM_CHECK(it != jobs_.end());
  return it->second.get();
}

PrefillCore::Job* PrefillCore::FindByNonce(Incarnation peer, const Nonce& nonce) {
  auto it = by_nonce_.find(nonce);
  if (it == by_nonce_.end()) return nullptr;
  Job* job = Find(it->second);
  return job->request.decode == peer && job->running ? job : nullptr;
}

}  // namespace tandem
