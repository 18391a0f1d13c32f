// Chooses one token from the logits of one position. A pure function: the draw is keyed by (seed,
// choice, output index), so a stream that another worker resumes draws the same numbers.
// Thread-safe.
//
// Not for: ending an output, detokenizing, penalties (a change of the logits before this).
#pragma once

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/base/ids.h"
#include "common/protocol/router_messages.h"

namespace tandem {

struct SampledChoice {
  TokenId token = 0;
  std::optional<OutputLogprobs> logprobs;  // there if params.top_logprobs >= 0
};

// Temperature 0: the largest logit, the lowest id among equals. Otherwise softmax(logits /
// temperature), cut to the top_k largest, then to the smallest set whose mass reaches top_p of what
// top_k left (never less than one token; equal logits are ranked by id), then one draw. Ids in
// `banned` are left out from the start; those outside the vocabulary are ignored. Logprobs are the
// log-softmax of the logits as given: before temperature, cuts and bans. Returns INTERNAL when a
// logit is NaN or +infinity, or all are -infinity: the step that made them is not to be trusted;
// INVALID_ARGUMENT when every token is banned.
absl::StatusOr<SampledChoice> SampleToken(absl::Span<const float> logits,
                                          const SamplingParams& params, uint32_t choice,
                                          uint32_t output_index, absl::Span<const TokenId> banned);

}  // namespace tandem
