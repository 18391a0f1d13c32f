// What the runner does for a decode worker: steps, sampled tokens, preemption. See decode_core.h.

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "decode_worker/core/decode_core.h"

namespace tandem {

std::vector<RunnableSequence> DecodeCore::Runnable() {
  std::vector<RunnableSequence> runnable;
  for (auto& [key, request] : requests_) {
    if (!request->schedulable()) continue;
    if (request->sequence.blocks().empty()) {
      const uint32_t cached = request->sequence.MatchCached(request->remote_blocks());
      if (!request->counted_cache) {
        request->counted_cache = true;
        request->timings.cached_tokens = cached;
        counters_.cached_tokens += cached;
      }
    }
    runnable.push_back({.key = key,
                        .computed = request->sequence.scheduled(),
                        .total = request->sequence.tokens().size(),
                        .age_rank = key.value(),
                        .samples = true,
                        .lane = request->lane});
  }
  return runnable;
}

bool DecodeCore::SubmitStep(Instant now, WorkerEffects* effects) {
  const std::vector<RunnableSequence> runnable = Runnable();
  if (!window_.Opens(runnable, options_.step_limits, /*busy=*/false, now)) return false;
  std::vector<PlannedPart> planned = PlanStep(runnable, options_.step_limits, cost_);
  // Blocks are taken oldest first, so that a preempted sequence is never one that has its blocks
  // for this step already.
  std::sort(planned.begin(), planned.end(),
            [](const PlannedPart& a, const PlannedPart& b) { return a.key < b.key; });
  StepPlan plan;
  StepInFlight step;
  bool short_of_blocks = false;
  for (const PlannedPart& part : planned) {
    Request& request = *Find(part.key);
    const uint32_t end = part.start + part.count;
    // A part planned before an older sequence preempted this one starts elsewhere now: it waits for
    // the next step.
    if (request.sequence.scheduled() != part.start || !EnsureBlocks(request, end, effects)) {
      short_of_blocks = true;
      continue;
    }
    const auto tokens = request.sequence.tokens().all().subspan(part.start, part.count);
    const auto table = request.sequence.blocks().ids().first(BlocksCovering(end));
    StepSequence sequence{.key = part.key,
                          .start = part.start,
                          .tokens = {tokens.begin(), tokens.end()},
                          .block_table = {table.begin(), table.end()},
                          .sample = std::nullopt};
    if (part.sample) {
      sequence.sample = SampleRequest{
          .params = request.sampling,
          .choice = 0,
          .output_index = static_cast<uint32_t>(request.sequence.tokens().outputs().size()),
          .banned = BannedTokens(request)};
    }
    plan.sequences.push_back(std::move(sequence));
    step.parts.push_back(part);
    request.sequence.Schedule(end);
    request.in_step = true;
  }
  if (plan.sequences.empty()) return short_of_blocks;
  plan.id = step.id = StepId(++last_step_);
  step.work = WorkOf(step.parts);
  step_ = std::move(step);
  effects->steps.push_back(std::move(plan));
  return short_of_blocks;
}

bool DecodeCore::EnsureBlocks(Request& request, uint32_t tokens, WorkerEffects* effects) {
  while (!request.sequence.Grow(tokens).ok()) {
    Request* const victim = YoungerVictim(request);
    if (victim == nullptr) {
      // Hits of a sequence that cannot go on would only keep room from others.
      if (request.sequence.tokens().outputs().empty() && request.timings.pushed_tokens == 0) {
        request.sequence.Preempt().Clear();
      }
      return false;
    }
    PreemptRequest(*victim, effects);
  }
  return true;
}

// Who makes room: the youngest of the bulk lane, or else the youngest; but only the oldest of all,
// which must move, takes an interactive sequence's room for a bulk one.
DecodeCore::Request* DecodeCore::YoungerVictim(const Request& request) {
  const bool takes_any =
      request.lane == Lane::kInteractive || requests_.begin()->first == request.key;
  Request* victim = nullptr;
  for (auto it = requests_.rbegin(); it != requests_.rend() && it->first > request.key; ++it) {
    Request& younger = *it->second;
    if (!younger.preemptible()) continue;
    if (younger.lane == Lane::kBulk) return &younger;
    if (victim == nullptr && takes_any) victim = &younger;
  }
  return victim;
}

void DecodeCore::PreemptRequest(Request& victim, WorkerEffects* effects) {
  ++counters_.preemptions;
  effects->notes.push_back(
      {"preempted", victim.trace_id, {{"landed", absl::StrCat(victim.sequence.landed())}}});
  victim.sequence.Preempt().Clear();  // no step is in flight while the next one is planned
}

void DecodeCore::OnSequenceDropped(const SequenceDropped& dropped) {
  TANDEM_CHECK_MSG(step_ && step_->id == dropped.step, "a sequence left a step that is over");
  const size_t left =
      std::erase_if(step_->parts, [&](const PlannedPart& part) { return part.key == dropped.key; });
  Request& request = *Find(dropped.key);
  TANDEM_CHECK(left == 1 && request.ended);
  request.in_step = false;
  ForgetIfUnused(request);
}

void DecodeCore::OnStepDone(const StepDone& done, Instant now, WorkerEffects* effects) {
  TANDEM_CHECK_MSG(step_ && step_->id == done.step, "a step ended that was not submitted");
  const StepInFlight step = std::move(*step_);
  step_.reset();
  // A step that a sequence left did less than was asked.
  if (done.status.ok() && step.work == WorkOf(step.parts)) cost_.Observe(step.work, done.computing);
  size_t next_sampled = 0;
  for (const PlannedPart& part : step.parts) {
    Request& request = *Find(part.key);
    request.in_step = false;
    const SampledToken* sampled = nullptr;
    if (done.status.ok() && part.sample) {
      TANDEM_CHECK(next_sampled < done.sampled.size());
      sampled = &done.sampled[next_sampled++];
      TANDEM_CHECK(sampled->key == part.key);
    }
    if (request.ended) {
      ForgetIfUnused(request);
    } else if (!done.status.ok()) {
      FailRequest(request, absl::StrCat("engine: ", done.status.message()), now, effects);
    } else if (sampled != nullptr && !sampled->status.ok()) {
      // Before its blocks are published: nobody shall find them in the prefix cache.
      FailRequest(request, absl::StrCat("engine: ", sampled->status.message()), now, effects);
    } else {
      const uint32_t end = part.start + part.count;
      // Displaced blocks are free to go: this was the only step in flight.
      request.sequence.Computed(end).Clear();
      const auto prompt = static_cast<uint32_t>(request.sequence.tokens().prompt().size());
      const uint32_t of_prompt = std::min(end, prompt) - std::min(part.start, prompt);
      request.timings.computed_tokens += of_prompt;
      counters_.computed_prompt_tokens += of_prompt;
      if (sampled != nullptr) OnSampled(request, *sampled, now, effects);
    }
  }
}

void DecodeCore::OnSampled(Request& request, const SampledToken& sampled, Instant now,
                           WorkerEffects* effects) {
  const SamplingParams& sampling = *request.sampling;
  const auto index = static_cast<uint32_t>(request.sequence.tokens().outputs().size());
  TokenFrame frame{.request = request.request, .epoch = request.epoch, .first_index = index};
  if (request.timings.first_token == Duration{})
    request.timings.first_token = now - request.arrived;
  if (!sampling.ignore_eos && IsEndToken(sampled.token)) {
    return FinishRequest(request, Finish{.reason = FinishReason::kStop}, std::move(frame), now,
                         effects);
  }
  const auto& stops = sampling.stop_token_ids;
  if (std::find(stops.begin(), stops.end(), sampled.token) != stops.end()) {
    return FinishRequest(request,
                         Finish{.reason = FinishReason::kStop, .stop_token = sampled.token},
                         std::move(frame), now, effects);
  }
  request.sequence.AppendOutput(sampled.token);
  ++counters_.generated_tokens;
  frame.tokens.push_back(sampled.token);
  if (sampled.logprobs) frame.logprobs.push_back(*sampled.logprobs);
  if (index + 1 >= sampling.max_tokens) {
    return FinishRequest(request, Finish{.reason = FinishReason::kLength}, std::move(frame), now,
                         effects);
  }
  effects->sends.emplace_back(request.session, std::move(frame));
}

bool DecodeCore::IsEndToken(TokenId token) const {
  const auto& ends = options_.end_tokens;
  return std::find(ends.begin(), ends.end(), token) != ends.end();
}

std::vector<TokenId> DecodeCore::BannedTokens(const Request& request) const {
  const SamplingParams& sampling = *request.sampling;
  if (request.sequence.tokens().outputs().size() >= sampling.min_tokens) return {};
  std::vector<TokenId> banned = sampling.stop_token_ids;
  if (!sampling.ignore_eos) {
    banned.insert(banned.end(), options_.end_tokens.begin(), options_.end_tokens.end());
  }
  return banned;
}

}  // namespace tandem
