// RouterCore: the tokens of a request, and its end.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "router/core/router_core.h"

namespace tandem {

void RouterCore::OnFrame(WorkerIndex worker, const TokenFrame& frame, Instant now) {
  RequestRecord* r = FindCurrent(frame.request, frame.epoch, worker);
  if (r == nullptr) {
    ++stats_.fenced_frames;
    return;
  }
  if (frame.first_index < r->outputs.size()) {
    ++stats_.fenced_frames;
    ++stats_.duplicate_frames;
    return;
  }
  if (frame.first_index > r->outputs.size()) {
    ++stats_.gap_frames;
    FailEpoch(*r,
              absl::StrCat("tokens from index ", frame.first_index, " came where ",
                           r->outputs.size(), " was due"),
              EpochEnd::kFailed, now);
    return;
  }
  if (!FrameIsValid(*r, frame)) {
    ++stats_.invalid_messages;
    FailEpoch(*r, "the decode worker sent an invalid frame", EpochEnd::kFailed, now);
    return;
  }
  if (!frame.tokens.empty()) AcceptTokens(*r, frame, now);
  if (!frame.finish.has_value()) return;
  if (frame.finish->reason == FinishReason::kError) {
    FailEpoch(*r, absl::StrCat("the decode worker failed: ", frame.finish->error),
              EpochEnd::kFailed, now);
    return;
  }
  const DecodeTimings& timings = frame.finish->timings;
  r->timings.landed = timings.landed;
  r->timings.pushed_tokens = timings.pushed_tokens;
  r->timings.computed_tokens = timings.computed_tokens;
  At(worker).prefixes.Learn(r->chain);
  At(worker).closed_until = {};  // blocks came free
  LeaveDecode(*r, /*cancel=*/false);
  End(*r, frame.finish->reason, frame.finish->stop_token, std::nullopt, now);
}

bool RouterCore::FrameIsValid(const RequestRecord& r, const TokenFrame& frame) const {
  if (r.phase != RequestPhase::kBooked || frame.choice != 0) return false;
  if (r.outputs.size() + frame.tokens.size() > r.sampling.max_tokens) return false;
  const size_t logprobs = r.sampling.top_logprobs >= 0 ? frame.tokens.size() : 0;
  if (frame.logprobs.size() != logprobs) return false;
  return std::all_of(frame.tokens.begin(), frame.tokens.end(), [](TokenId t) { return t >= 0; });
}

void RouterCore::AcceptTokens(RequestRecord& r, const TokenFrame& frame, Instant now) {
  if (!r.first_token_at.has_value()) r.first_token_at = now;
  r.last_token_at = now;
  r.token_seen_in_epoch = true;
  r.failures_without_progress = 0;
  stats_.output_tokens += frame.tokens.size();
  r.outputs.insert(r.outputs.end(), frame.tokens.begin(), frame.tokens.end());
  effects_.push_back(EmitTokens{r.id, frame.first_index, frame.tokens, frame.logprobs});
}

void RouterCore::EndWithError(RequestRecord& r, StreamErrorKind kind, std::string message,
                              Instant now) {
  StreamError error{kind, std::move(message), {}};
  if (kind == StreamErrorKind::kOverloaded || kind == StreamErrorKind::kNoWorker) {
    error.retry_after = RetryAfter();
  }
  End(r, FinishReason::kError, std::nullopt, std::move(error), now);
}

void RouterCore::End(RequestRecord& r, FinishReason reason, std::optional<TokenId> stop_token,
                     std::optional<StreamError> error, Instant now) {
  LeaveJob(r, /*cancel=*/true);
  if (r.phase != RequestPhase::kQueued) LeaveDecode(r, /*cancel=*/true);
  queue_.erase(r.arrival);
  SetTimer(r, kNever);

  RequestTimings& t = r.timings;
  t.total = now - r.submitted;
  t.prompt_tokens = static_cast<uint32_t>(r.prompt.size());
  t.output_tokens = static_cast<uint32_t>(r.outputs.size());
  if (r.first_token_at.has_value()) {
    t.first_token = *r.first_token_at - r.submitted;
    const double seconds = ToSeconds(r.last_token_at - *r.first_token_at);
    if (seconds > 0 && r.outputs.size() > 1) t.tokens_per_second = (r.outputs.size() - 1) / seconds;
  }
  stats_.cached_tokens += t.cached_tokens;
  if (!error.has_value()) {
    ++stats_.finished;
    if (last_end_ != Instant{}) {
      end_interval_s_ += 0.2 * (ToSeconds(now - last_end_) - end_interval_s_);
    }
    last_end_ = now;
  } else if (error->kind == StreamErrorKind::kCancelled) {
    ++stats_.cancelled;
  } else {
    ++stats_.failed;
    if (error->kind == StreamErrorKind::kOverloaded) ++stats_.overloaded;
    if (error->kind == StreamErrorKind::kNoWorker) ++stats_.no_worker;
  }
  effects_.push_back(EndStream{r.id, reason, stop_token, std::move(error), t});
  requests_.erase(r.id);
}

// What the queue needs at the current pace to let one more through: 1 to 30 s.
Duration RouterCore::RetryAfter() const {
  const double seconds = std::clamp(end_interval_s_ * (queue_.size() + 1), 1.0, 30.0);
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
}

}  // namespace tandem
