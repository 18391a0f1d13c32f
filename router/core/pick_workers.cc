#include "router/core/pick_workers.h"

#include <algorithm>
#include <limits>

#include "common/kv/block_size.h"

namespace tandem {
namespace {

// What one more sequence in a decode worker's batch is worth in missing prompt tokens. A pushed
// token costs little next to a slower step for everybody, so load outweighs all but long prefix
// hits.
constexpr uint64_t kTokensPerRunningSequence = 64;
constexpr uint64_t kNoRoomCost = uint64_t{1} << 48;

uint32_t Missing(uint32_t prompt_tokens, uint32_t cached_tokens) {
  return prompt_tokens - std::min(prompt_tokens, cached_tokens);
}

// Walks the candidates from a start that depends on `tie_break` and keeps the first of the
// cheapest.
template <class Candidate, class Cost>
std::optional<WorkerIndex> Cheapest(absl::Span<const Candidate> candidates, uint64_t tie_break,
                                    const Cost& cost) {
  std::optional<WorkerIndex> best;
  uint64_t best_cost = std::numeric_limits<uint64_t>::max();
  for (size_t i = 0; i < candidates.size(); ++i) {
    const Candidate& candidate = candidates[(tie_break + i) % candidates.size()];
    const uint64_t c = cost(candidate);
    if (!best.has_value() || c < best_cost) {
      best = candidate.worker;
      best_cost = c;
    }
  }
  return best;
}

}  // namespace

std::optional<WorkerIndex> PickDecode(uint32_t prompt_tokens, uint32_t blocks_needed,
                                      absl::Span<const DecodeCandidate> candidates,
                                      uint64_t tie_break) {
  return Cheapest(candidates, tie_break % (1u << 31), [&](const DecodeCandidate& c) {
    uint64_t cost =
        Missing(prompt_tokens, c.cached_tokens) + uint64_t{c.running} * kTokensPerRunningSequence;
    if (c.free_blocks < blocks_needed) cost += kNoRoomCost;
    return cost;
  });
}

std::optional<WorkerIndex> PickPrefill(uint32_t prompt_tokens,
                                       absl::Span<const PrefillCandidate> candidates,
                                       uint64_t tie_break) {
  return Cheapest(candidates, tie_break % (1u << 31), [&](const PrefillCandidate& c) {
    return Missing(prompt_tokens, c.cached_tokens) + c.queued_tokens;
  });
}

bool WorthPushing(uint32_t prompt_tokens, uint32_t cached_tokens, uint32_t short_suffix_tokens) {
  return SharableBlocks(prompt_tokens) > FullBlocks(cached_tokens) &&
         Missing(prompt_tokens, cached_tokens) >= short_suffix_tokens;
}

}  // namespace tandem
