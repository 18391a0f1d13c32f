// Which jobs start, what the runner computes next and what it reports. See prefill_core.h.

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/check.h"
#include "common/engine/admission.h"
#include "common/engine/step_planner.h"
#include "prefill_worker/core/prefill_core.h"

namespace tandem {
namespace {

// How many times longer an interactive job's step may take for the bulk work in it.
constexpr double kMaxStretch = 2;

}  // namespace

void PrefillCore::StartJobs(Instant now, WorkerEffects* effects) {
  uint32_t running = 0;
  std::vector<Job*> waiting;
  for (const auto& [key, job] : jobs_) {
    running += job->running;
    if (!job->running && !job->ended) waiting.push_back(job.get());
  }
  SortForAdmission(&waiting, now, [](const Job& job) { return job.arrived; });
  for (Job* job : waiting) {
    if (running >= options_.max_running) break;
    if (!StartJob(*job, now, effects)) break;  // in order: a short job does not starve a long one
    ++running;
  }
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
  effects->notes.push_back(job.Note(
      "offered", {{"blocks", absl::StrCat(job.target_blocks)},
                  {"cached_tokens", absl::StrCat(cached)},
                  {"queued_ms", absl::StrFormat("%.3f", ToMilliseconds(now - job.arrived))}}));
  return true;
}

bool PrefillCore::SubmitStep(Instant now, WorkerEffects* effects) {
  std::vector<RunnableSequence> runnable;
  for (const auto& [key, job] : jobs_) {
    if (!job->wants_compute()) continue;
    runnable.push_back({.key = key,
                        .computed = job->sequence.scheduled(),
                        .total = job->target_blocks * kBlockTokens,
                        .age_rank = key.value(),
                        .samples = false,
                        .grain = kBlockTokens,
                        .lane = job->lane});
  }
  const StepLimits limits = {.max_batch_tokens = options_.chunk_tokens,
                             .max_prefill_tokens = options_.chunk_tokens,
                             .max_sequences = options_.max_running,
                             .max_time = options_.max_step_time,
                             .max_stretch = kMaxStretch};
  if (!window_.Opens(runnable, limits, /*busy=*/!steps_.empty(), now)) return false;
  const std::vector<PlannedPart> parts = PlanStep(runnable, limits, cost_);
  if (parts.empty()) return false;
  StepPlan plan{.id = StepId(++last_step_), .sequences = {}, .report_layers = true};
  StepInFlight step{.parts = {}, .work = WorkOf(parts)};
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

void PrefillCore::OnSequenceDropped(const SequenceDropped& dropped) {
  const auto step = steps_.find(dropped.step);
  TANDEM_CHECK_MSG(step != steps_.end(), "a sequence left a step that is over");
  const size_t left = std::erase_if(step->second.parts,
                                    [&](const StepPart& part) { return part.key == dropped.key; });
  Job& job = *Find(dropped.key);
  TANDEM_CHECK(left == 1 && job.ended);
  step->second.whole = false;
  --job.steps_in_flight;
  ForgetIfUnused(dropped.key);
}

void PrefillCore::OnStepDone(const StepDone& done, Instant now, WorkerEffects* effects) {
  auto node = steps_.extract(done.step);
  TANDEM_CHECK_MSG(!node.empty(), "a step ended twice");
  const StepInFlight& step = node.mapped();
  if (done.status.ok() && step.whole) cost_.Observe(step.work, done.computing);
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

}  // namespace tandem
