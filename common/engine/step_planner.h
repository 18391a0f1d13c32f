// PlanStep: which tokens of which sequences the next step computes. A pure function of plain data;
// both workers' cores use it.
//
// Order: interactive before bulk sequences; in each lane those with one token missing (decoding),
// then those with at most a block missing (the end of a prompt whose prefix landed), then longer
// work; within each, the oldest first. Long work is cut at block ends where it can be.
//
// Time protects interactive streams. Interactive decoding is never held back for it. While anything
// interactive is runnable, all bulk work, decoding too, joins only as far as the step keeps its
// limit. That is reckoned over the interactive decoding, with a row for each interactive prompt in
// hand: eight prompts that came at once are not filled at the pace of the first one's lone stream.
// A long context adds nothing, so one long prompt holds up the streams no more than a short one.
// Where nothing interactive decodes (it is the prompts that wait for their first token), bulk work
// makes the step at most `max_stretch` times as long as the interactive work in it. With bulk work
// alone there is no limit of time: tokens and sequences bound the step, and batches are as large as
// they get.
//
// Progress, in either lane: the oldest runnable sequence is in every plan. Ages never change and
// only what is younger keeps arriving, so the oldest finishes, then the next is the oldest, and so
// on: with admission by age everything finishes, bulk work too, whatever interactive work keeps
// arriving behind it. The oldest with more than one token missing is in the plan as well, and so is
// the oldest such interactive one (a bulk prompt before it must not take its turn), however little
// time there is, unless tokens or sequences run out before it. Bulk sequences that time leaves out
// wait in the order of their age, so the oldest of them leaves the sooner: each has the step to
// itself, or its share of the time, when those before it are gone.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "common/base/clock.h"
#include "common/engine/cost_model.h"
#include "common/engine/step.h"
#include "common/protocol/lane.h"

namespace tandem {

struct RunnableSequence {
  SequenceKey key;
  uint32_t computed = 0;  // tokens whose KV is valid, or will be when the steps in flight are done
  uint32_t total = 0;     // tokens to compute KV for; > computed
  uint64_t age_rank = 0;  // smaller is older; unique
  bool samples = true;    // the logits after the last token are wanted (false on a prefill worker)
  uint32_t grain = 1;     // parts are multiples of it; divides what is missing
  Lane lane = Lane::kInteractive;
};

// Counts are at least 1.
struct StepLimits {
  uint32_t max_batch_tokens = 2048;
  uint32_t max_prefill_tokens =
      512;  // per step, of sequences that miss more than one token; bounds a step's time
  uint32_t max_sequences = 256;
  // What a step with interactive and other than interactive decoding work in it may take. Zero:
  // `max_stretch` times what the interactive decoding takes, where there is any, with a row for
  // each interactive prompt in hand; zero as well: as long as it likes.
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
