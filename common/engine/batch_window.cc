#include "common/engine/batch_window.h"

#include <algorithm>

namespace tandem {
namespace {

// More of it would not make the step any larger.
bool FillsAStep(absl::Span<const RunnableSequence> runnable, const StepLimits& limits) {
  if (runnable.size() >= limits.max_sequences) return true;
  uint64_t missing = 0;
  for (const RunnableSequence& s : runnable) missing += s.total - s.computed;
  return missing >= std::min(limits.max_batch_tokens, limits.max_prefill_tokens);
}

}  // namespace

bool BatchWindow::Opens(absl::Span<const RunnableSequence> runnable, const StepLimits& limits,
                        bool busy, Instant now) {
  if (runnable.empty()) {
    open_ = busy;
    gathering_until_.reset();
    return open_;
  }
  const bool urgent = std::any_of(runnable.begin(), runnable.end(), [](const RunnableSequence& s) {
    return s.lane == Lane::kInteractive;
  });
  open_ = open_ || busy || urgent || length_ <= Duration::zero() || FillsAStep(runnable, limits);
  if (!open_ && !gathering_until_) gathering_until_ = now + length_;
  open_ = open_ || now >= *gathering_until_;
  if (open_) gathering_until_.reset();
  return open_;
}

}  // namespace tandem
