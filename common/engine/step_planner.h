// PlanStep: which tokens of which sequences the next step computes. A pure function of plain data;
// both workers' cores use it.
//
// Order: sequences with one token missing (decoding), then those with at most a block missing (the
// end of a prompt whose prefix landed), then longer work; within each, the oldest first. Long work
// is cut at block ends where it can be.
//
// Progress: the oldest runnable sequence is in every plan. So with admission by age everything
// finishes, whatever keeps arriving behind it. So is the oldest with more than one token missing,
// however little time there is, unless tokens or sequences run out before it.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "common/base/clock.h"
#include "common/engine/cost_model.h"
#include "common/engine/step.h"

namespace tandem {

struct RunnableSequence {
  SequenceKey key;
  uint32_t computed = 0;  // tokens whose KV is valid, or will be when the steps in flight are done
  uint32_t total = 0;     // tokens to compute KV for; > computed
  uint64_t age_rank = 0;  // smaller is older; unique
  bool samples = true;    // the logits after the last token are wanted (false on a prefill worker)
  uint32_t grain = 1;     // parts are multiples of it; divides what is missing
};

// Counts are at least 1.
struct StepLimits {
  uint32_t max_batch_tokens = 2048;
  uint32_t max_prefill_tokens =
      512;  // per step, of sequences that miss more than one token; bounds a step's time
  uint32_t max_sequences = 256;
  // What a step with long work in it may take. Zero: `max_stretch` times what its decoding alone
  // takes, where anything decodes; zero as well: as long as it likes.
  Duration max_time{};
  double max_stretch = 0;
};

struct PlannedPart {
  SequenceKey key;
  uint32_t start = 0;
  uint32_t count = 0;   // at least 1
  bool sample = false;  // the part reaches the sequence's end and logits are wanted

  friend bool operator==(const PlannedPart&, const PlannedPart&) = default;
};

// Empty when nothing is runnable. `cost` says what fits into the limits of time; until it knows
// anything they are not kept.
std::vector<PlannedPart> PlanStep(absl::Span<const RunnableSequence> runnable,
                                  const StepLimits& limits, const StepCostModel& cost = {});

// What the parts of a plan compute.
StepWork WorkOf(absl::Span<const PlannedPart> parts);

}  // namespace tandem
