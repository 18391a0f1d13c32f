// What a core asks of its runner, and what it hears back: one step is one pass over the layers for
// parts of several sequences. Plain data; the core never computes and the runner never decides.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "common/base/clock.h"
#include "common/base/ids.h"
#include "common/protocol/router_messages.h"

namespace tandem {

// Names a sequence inside one worker process; the runner only hands it back.
using SequenceKey = StrongId<struct SequenceKeyTag, uint64_t>;

// Draw one token from the logits after a sequence's last token of the step.
struct SampleRequest {
  std::shared_ptr<const SamplingParams> params;
  uint32_t choice = 0;
  uint32_t output_index = 0;    // counts output tokens from 0; keys the random draw
  std::vector<TokenId> banned;  // cannot be chosen (end tokens before min_tokens)
};

// Computes KV for tokens at positions [start, start + tokens.size()).
// Invariant: KV of positions [0, start) is valid in the blocks of `block_table`, which covers start
// + tokens.size().
struct StepSequence {
  SequenceKey key;
  uint32_t start = 0;
  std::vector<TokenId> tokens;       // not empty
  std::vector<BlockId> block_table;  // physical block of each 16 positions
  std::optional<SampleRequest> sample;
};

struct StepPlan {
  StepId id;
  std::vector<StepSequence> sequences;  // not empty; a key occurs once
  bool report_layers = false;  // the runner posts LayerDone after each layer (pushing workers)
};

// Asks the runner to leave a sequence out of a step that was submitted: whoever wanted it is gone.
// It is done between two layers; SequenceDropped tells, unless the step was over by then.
struct StepDrop {
  StepId step;
  SequenceKey key;
};

// Nothing of the sequence is written any more by this step. Its StepDone does not name it.
struct SequenceDropped {
  StepId step;
  SequenceKey key;
};

// KV of `layer` is written for every token of the step. Layers come in order, the last one before
// StepDone; they end early when every sequence of the step was dropped.
struct LayerDone {
  StepId step;
  uint32_t layer = 0;
};

struct SampledToken {
  SequenceKey key;
  TokenId token = 0;
  std::optional<OutputLogprobs> logprobs;
  // Not OK: there is no token, and what the step computed of this sequence is not to be trusted.
  // The step's other sequences are not concerned.
  absl::Status status = absl::OkStatus();
};

struct StepDone {
  StepId step;
  absl::Status status;  // not OK: nothing of the step is valid
  // One per StepSequence with `sample` that was not dropped, in plan order.
  std::vector<SampledToken> sampled;
  Duration computing{};
};

using RunnerEvent = std::variant<LayerDone, SequenceDropped, StepDone>;

// Steps a core may have submitted and not yet heard of: the next is planned while one runs.
inline constexpr int kMaxStepsInFlight = 2;

}  // namespace tandem
