#include "prefill_worker/core/prefill_core.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/check.h"
#include "common/base/deadline.h"
#include "common/engine/step_planner.h"

namespace tandem {
namespace {

CoreNote JobNote(absl::string_view event, const PrefillJobState& job,
                 std::vector<std::pair<std::string, std::string>> fields) {
  return CoreNote{std::string(event), job.request.trace_id, std::move(fields)};
}

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
    : options_(options), cache_(cache) {
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
  auto job = std::make_unique<Job>(Job{.key = SequenceKey(++last_key_),
                                       .session = session,
                                       .request = std::move(request),
                                       .sequence = Sequence(cache_, std::move(tokens)),
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

void PrefillCore::OnTransferEvent(TransferEvent event, Instant now, WorkerEffects* effects) {
  if (auto* received = std::get_if<PeerMessageReceived>(&event)) {
    OnPeerMessage(received->peer, std::move(received->message), now, effects);
  } else if (auto* down = std::get_if<PeerDown>(&event)) {
    EndJobsIf([&](const Job& job) { return job.running && job.request.decode == down->peer; },
              JobResult::kAbandoned, absl::StrCat("decode worker lost: ", down->reason),
              /*tell_peer=*/false, now, effects);
  } else if (auto* sent = std::get_if<SegmentSent>(&event)) {
    auto it = pushes_.find(sent->push);
    TANDEM_CHECK_MSG(it != pushes_.end(), "a push ended twice");
    const SequenceKey key = it->second;
    pushes_.erase(it);
    Job& job = *Find(key);
    --job.pushes_in_flight;
    if (job.ended) {
      ForgetIfUnused(key);
    } else if (!sent->ok) {
      EndJob(job, JobResult::kAbandoned, "a segment could not be sent", /*tell_peer=*/true, now,
             effects);
    } else if (job.push_deadline != kNever) {
      job.push_deadline = DeadlineAfter(now, options_.ack_limit);
    }
  }
  // PeerUp: the offer is already on its way. Landing events cannot happen: this worker grants
  // nothing.
}

void PrefillCore::OnPeerMessage(Incarnation peer, PeerMessage message, Instant now,
                                WorkerEffects* effects) {
  if (auto* grant = std::get_if<Grant>(&message)) {
    Job* job = FindByNonce(peer, grant->nonce);
    if (job == nullptr || job->push) {
      ++counters_.stale_messages;
      return;
    }
    OnGrant(*job, std::move(*grant), now, effects);
  } else if (auto* refused = std::get_if<OfferRefused>(&message)) {
    EndByPeer(peer, refused->nonce, JobResult::kAbandoned,
              absl::StrCat("offer refused: ", refused->reason), now, effects);
  } else if (auto* revoke = std::get_if<Revoke>(&message)) {
    EndByPeer(peer, revoke->nonce, JobResult::kRevoked, revoke->reason, now, effects);
  } else if (auto* ack = std::get_if<CommitAck>(&message)) {
    OnCommitAck(peer, *ack, now, effects);
  } else if (auto* offer = std::get_if<Offer>(&message)) {
    effects->transfers.push_back(
        SendPeerMessage{peer, OfferRefused{offer->nonce, "this worker takes no pushes"}});
  }
}

void PrefillCore::EndByPeer(Incarnation peer, const Nonce& nonce, JobResult result,
                            absl::string_view why, Instant now, WorkerEffects* effects) {
  Job* job = FindByNonce(peer, nonce);
  if (job == nullptr) {
    ++counters_.stale_messages;
    return;
  }
  EndJob(*job, result, why, /*tell_peer=*/false, now, effects);
}

void PrefillCore::OnGrant(Job& job, Grant grant, Instant now, WorkerEffects* effects) {
  const uint64_t wanted =
      std::accumulate(grant.run_lengths.begin(), grant.run_lengths.end(), uint64_t{0});
  if (grant.first_block + wanted != job.target_blocks) {
    return EndJob(job, JobResult::kAbandoned, "the grant does not fit the offer",
                  /*tell_peer=*/true, now, effects);
  }
  effects->notes.push_back(JobNote("grant received", job,
                                   {{"first_block", absl::StrCat(grant.first_block)},
                                    {"blocks", absl::StrCat(wanted)},
                                    {"runs", absl::StrCat(grant.run_lengths.size())}}));
  by_grant_[{job.request.decode, grant.grant}] = job.key;
  job.push = PushState{grant.grant, {grant.first_block, std::move(grant.run_lengths)}, 0, {}};
  if (job.fully_acked()) {
    return EndJob(job, JobResult::kPushed, "nothing was missing", /*tell_peer=*/false, now,
                  effects);
  }
  // What is complete goes at once, in chunks that can be verified while the next one travels; of
  // the steps that run, the layers that are done. The rest follows as it is computed.
  const uint32_t computed = job.computed_blocks();
  for (uint32_t begin = job.push->runs.first_block; begin < computed;
       begin += options_.max_segment_blocks) {
    const uint32_t end = std::min(computed, begin + options_.max_segment_blocks);
    std::vector<SegmentId> segments;
    for (uint32_t layer = 0; layer < options_.num_layers; ++layer) {
      PushLayer(job, layer, begin, end, &segments, effects);
    }
    CommitRange(job, begin, end, std::move(segments), now, effects);
  }
  for (auto& [id, step] : steps_) {
    for (StepPart& part : step.parts) {
      if (part.key != job.key) continue;
      for (uint32_t layer = 0; layer < step.layers_done; ++layer) {
        PushPart(job, id, part, layer, effects);
      }
    }
  }
}

void PrefillCore::OnCommitAck(Incarnation peer, const CommitAck& ack, Instant now,
                              WorkerEffects* effects) {
  auto it = by_grant_.find({peer, ack.grant});
  if (it == by_grant_.end()) {
    ++counters_.stale_messages;
    return;
  }
  Job& job = *Find(it->second);
  if (!ack.bad.empty()) {
    return EndJob(job, JobResult::kAbandoned,
                  absl::StrCat(ack.bad.size(), " segments failed verification"),
                  /*tell_peer=*/true, now, effects);
  }
  const auto awaited = job.push->awaited.find(ack.first_block);
  if (awaited == job.push->awaited.end() || awaited->second != ack.num_blocks) {
    ++counters_.stale_messages;
    return;
  }
  job.push->awaited.erase(awaited);
  job.push->acked_blocks += ack.num_blocks;
  const bool all_sent_acked =
      job.push->runs.first_block + job.push->acked_blocks >= job.computed_blocks();
  job.push_deadline = all_sent_acked ? kNever : DeadlineAfter(now, options_.ack_limit);
  if (job.fully_acked()) {
    EndJob(job, JobResult::kPushed, "", /*tell_peer=*/false, now, effects);
  }
}

void PrefillCore::OnLayerDone(const LayerDone& done, WorkerEffects* effects) {
  auto it = steps_.find(done.step);
  TANDEM_CHECK_MSG(it != steps_.end() && it->second.layers_done == done.layer,
                   "layers are reported in order, within their step");
  it->second.layers_done = done.layer + 1;
  for (StepPart& part : it->second.parts) {
    Job& job = *Find(part.key);
    if (job.ended || !job.push) continue;
    PushPart(job, done.step, part, done.layer, effects);
  }
}

void PrefillCore::PushPart(Job& job, StepId step, StepPart& part, uint32_t layer,
                           WorkerEffects* effects) {
  const bool first = part.segments.empty();
  PushLayer(job, layer, part.first_block, part.end_block, &part.segments, effects);
  if (!first || part.segments.empty()) return;
  effects->notes.push_back(
      JobNote("first layer pushed", job,
              {{"step", absl::StrCat(step.value())},
               {"layers_still_to_compute",
                absl::StrCat(options_.num_layers - steps_.at(step).layers_done)}}));
}

void PrefillCore::OnSequenceDropped(const SequenceDropped& dropped) {
  const auto step = steps_.find(dropped.step);
  TANDEM_CHECK_MSG(step != steps_.end(), "a sequence left a step that is over");
  const size_t left = std::erase_if(step->second.parts,
                                    [&](const StepPart& part) { return part.key == dropped.key; });
  Job& job = *Find(dropped.key);
  TANDEM_CHECK(left == 1 && job.ended);
  --job.steps_in_flight;
  ForgetIfUnused(dropped.key);
}

void PrefillCore::OnStepDone(const StepDone& done, Instant now, WorkerEffects* effects) {
  auto node = steps_.extract(done.step);
  TANDEM_CHECK_MSG(!node.empty(), "a step ended twice");
  for (StepPart& part : node.mapped().parts) {
    Job& job = *Find(part.key);
    --job.steps_in_flight;
    if (!done.status.ok()) {
      if (!job.ended) {
        EndJob(job, JobResult::kAbandoned, absl::StrCat("engine: ", done.status.message()),
               /*tell_peer=*/true, now, effects);
      } else {
        ForgetIfUnused(part.key);
      }
      continue;
    }
    if (job.sequence.landed() < part.first_block * kBlockTokens) {
      // The step before it failed while this one was in flight: it was computed from nothing valid.
      TANDEM_CHECK(job.ended);
      ForgetIfUnused(part.key);
      continue;
    }
    const uint32_t tokens = (part.end_block - part.first_block) * kBlockTokens;
    counters_.computed_tokens += tokens;
    job.displaced.Append(job.sequence.Computed(part.end_block * kBlockTokens));
    job.computed = now;
    if (job.ended) {
      ForgetIfUnused(part.key);
    } else if (job.push) {
      CommitRange(job, part.first_block, part.end_block, std::move(part.segments), now, effects);
    }
  }
}

void PrefillCore::PushLayer(Job& job, uint32_t layer, uint32_t begin, uint32_t end,
                            std::vector<SegmentId>* segments, WorkerEffects* effects) {
  begin = std::max(begin, job.push->runs.first_block);
  if (begin >= end) return;
  for (const BlockPiece& piece : CutIntoPieces(begin, end, job.sequence.blocks().ids(),
                                               job.push->runs, options_.max_segment_blocks)) {
    const SegmentId segment{0, static_cast<uint16_t>(layer), piece.first_block, piece.num_blocks};
    const PushId push(++last_push_);
    pushes_[push] = job.key;
    ++job.pushes_in_flight;
    const uint64_t bytes = piece.num_blocks * options_.block_layer_bytes;
    job.pushed_bytes += bytes;
    counters_.pushed_bytes += bytes;
    segments->push_back(segment);
    effects->transfers.push_back(PushSegment{push, job.request.decode, job.push->grant, segment,
                                             piece.source, job.request.nonce});
  }
}

void PrefillCore::CommitRange(Job& job, uint32_t begin, uint32_t end,
                              std::vector<SegmentId> segments, Instant now,
                              WorkerEffects* effects) {
  begin = std::max(begin, job.push->runs.first_block);
  if (begin >= end) return;
  job.push_deadline = DeadlineAfter(now, options_.ack_limit);
  job.push->awaited[begin] = end - begin;
  effects->transfers.push_back(SendPeerMessage{
      job.request.decode, Commit{job.push->grant, begin, end - begin, std::move(segments)}});
}

bool PrefillCore::StartJob(Job& job, Instant now, WorkerEffects* effects) {
  const uint32_t cached = job.sequence.MatchCached(job.target_blocks);
  if (!job.sequence.Grow(job.target_blocks * kBlockTokens).ok()) {
    job.sequence.Preempt().Clear();
    return false;
  }
  job.running = true;
  job.started = now;
  job.computed = now;
  job.cached_tokens = cached;
  counters_.cached_tokens += cached;
  effects->transfers.push_back(ConnectPeer{job.request.decode, job.request.decode_address});
  effects->transfers.push_back(SendPeerMessage{
      job.request.decode, Offer{job.request.nonce, job.request.decode, job.target_blocks}});
  effects->notes.push_back(JobNote("offered", job,
                                   {{"blocks", absl::StrCat(job.target_blocks)},
                                    {"cached_tokens", absl::StrCat(cached)},
                                    {"queued_ms", Ms(now - job.arrived)}}));
  return true;
}

bool PrefillCore::SubmitStep(WorkerEffects* effects) {
  std::vector<RunnableSequence> runnable;
  for (const auto& [key, job] : jobs_) {
    if (!job->wants_compute()) continue;
    runnable.push_back({.key = key,
                        .computed = job->sequence.scheduled(),
                        .total = job->target_blocks * kBlockTokens,
                        .age_rank = key.value(),
                        .samples = false});
  }
  const std::vector<PlannedPart> parts =
      PlanStep(runnable, {.max_batch_tokens = options_.chunk_tokens,
                          .max_prefill_tokens = options_.chunk_tokens,
                          .max_sequences = options_.max_running});
  if (parts.empty()) return false;
  StepPlan plan{.id = StepId(++last_step_), .sequences = {}, .report_layers = true};
  StepInFlight step;
  for (const PlannedPart& planned : parts) {
    Job& job = *Find(planned.key);
    const uint32_t end = planned.start + planned.count;
    TANDEM_CHECK_MSG(planned.start % kBlockTokens == 0 && end % kBlockTokens == 0,
                     "only full blocks are computed for pushing");
    const auto tokens = job.sequence.tokens().all().subspan(planned.start, planned.count);
    const auto table = job.sequence.blocks().ids().first(end / kBlockTokens);
    plan.sequences.push_back({.key = planned.key,
                              .start = planned.start,
                              .tokens = {tokens.begin(), tokens.end()},
                              .block_table = {table.begin(), table.end()},
                              .sample = std::nullopt});
    step.parts.push_back({planned.key, planned.start / kBlockTokens, end / kBlockTokens, {}});
    job.sequence.Schedule(end);
    ++job.steps_in_flight;
  }
  steps_[plan.id] = std::move(step);
  effects->steps.push_back(std::move(plan));
  return true;
}

void PrefillCore::Advance(Instant now, Duration progress_age, WorkerEffects* effects) {
  now_ = now;
  EndJobsIf([&](const Job& job) { return now >= job.expires; }, JobResult::kAbandoned,
            "deadline passed", /*tell_peer=*/true, now, effects);
  EndJobsIf([&](const Job& job) { return now >= job.push_deadline; }, JobResult::kAbandoned,
            "no acknowledgement in time", /*tell_peer=*/true, now, effects);
  uint32_t running = 0;
  for (const auto& [key, job] : jobs_) running += job->running;
  for (const auto& [key, job] : jobs_) {
    if (running >= options_.max_running) break;
    if (job->running || job->ended) continue;
    if (!StartJob(*job, now, effects)) break;  // in order: a short job does not starve a long one
    ++running;
  }
  while (steps_.size() < kMaxStepsInFlight && SubmitStep(effects)) {
  }
  if (now >= next_heartbeat_) {
    next_heartbeat_ = now + options_.heartbeat_interval;
    for (SessionId session : sessions_) {
      effects->sends.emplace_back(session, WorkerHeartbeat{progress_age, draining_, load()});
    }
  }
}

Instant PrefillCore::NextDeadline() const {
  Instant next = sessions_.empty() ? kNever : next_heartbeat_;
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
  effects->notes.push_back(JobNote("job ended", job,
                                   {{"result", JobResultName(result)},
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
