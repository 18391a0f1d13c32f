// The routing decision: pure functions of small structs. Cost is counted in tokens of work: what
// the worker still lacks of this prompt, plus what stands in line before it.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/types/span.h"
#include "router/core/router_events.h"

namespace tandem {

struct DecodeCandidate {
  WorkerIndex worker;
  uint32_t cached_tokens = 0;  // of this prompt, as far as the router knows
  uint32_t free_blocks = 0;
  uint32_t running = 0;  // sequences running and waiting there
};

struct PrefillCandidate {
  WorkerIndex worker;
  uint32_t cached_tokens = 0;
  uint64_t queued_tokens = 0;  // still to be computed before a new job
};

// The cheapest candidate: fewest missing tokens and fewest sequences to share its steps with; one
// whose free blocks do not hold `blocks_needed` only if none does. Equal costs are spread by
// `tie_break`. Empty without candidates.
std::optional<WorkerIndex> PickDecode(uint32_t prompt_tokens, uint32_t blocks_needed,
                                      absl::Span<const DecodeCandidate> candidates,
                                      uint64_t tie_break);

// The candidate that would have the prompt's KV first: tokens missing there plus tokens in line.
// A Grant saves a push and no computation, so what the decode worker holds does not count here.
std::optional<WorkerIndex> PickPrefill(uint32_t prompt_tokens,
                                       absl::Span<const PrefillCandidate> candidates,
                                       uint64_t tie_break);

// Whether a prefill worker is worth its round trip: at least `short_suffix_tokens` are missing at
// the decode worker, and among them is a full block that can be pushed.
bool WorthPushing(uint32_t prompt_tokens, uint32_t cached_tokens, uint32_t short_suffix_tokens);

}  // namespace tandem
