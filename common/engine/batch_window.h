// BatchWindow: after a pause the first step of a worker may wait a moment for more work to join it.
// Every step reads all the weights, whatever it computes, so where reading them is what a step
// costs, two short prompts in one step cost little more than one. On two processor cores it is not
// (tests/bench, claim `lanes`), which is why the window is 0 unless somebody sets it.
//
// It concerns bulk work alone: an interactive sequence starts a step at once, and what has gathered
// by then joins as the planner allows. So does as much work as a step may hold. While steps follow
// each other nothing waits: what arrives during a step joins the next one anyway.
//
//   resting ───anything interactive, or no window──▶ open ───nothing runnable, no step──▶ resting
//      └─bulk work only─▶ gathering ─time is over, enough work, anything interactive─▶ open
//                             └──────the work went away──▶ resting
//
// Deterministic: it knows the time only by what it is told, and says when to ask again. Owned by a
// worker's core; core thread only.
#pragma once

#include <optional>

#include "absl/types/span.h"
#include "common/base/clock.h"
#include "common/engine/step_planner.h"

namespace tandem {

class BatchWindow {
 public:
  // Zero: no step ever waits.
  explicit BatchWindow(Duration length) : length_(length) {}

  // Whether a step of `runnable` may start. Ask whenever one could be planned, also with nothing
  // runnable: a pause is what closes the window again. `busy`: a step is in flight.
  bool Opens(absl::Span<const RunnableSequence> runnable, const StepLimits& limits, bool busy,
             Instant now);

  // When to ask again though nothing happens; kNever unless gathering.
  Instant deadline() const { return gathering_until_.value_or(kNever); }

 private:
  const Duration length_;
  bool open_ = false;
  std::optional<Instant> gathering_until_;
};

}  // namespace tandem
