#include "common/engine/step_planner.h"

#include <algorithm>

#include "common/base/check.h"
#include "common/kv/block_size.h"

namespace tandem {
namespace {

// What of a step is not given out yet.
struct Room {
  uint32_t batch_tokens;
  uint32_t prefill_tokens;
  uint32_t sequences;
};

uint32_t Missing(const RunnableSequence& s) { return s.total - s.computed; }

bool Decodes(const RunnableSequence& s) { return Missing(s) == 1; }

// 0: decoding; 1: the tail of a landed prefix; 2: long work.
int Class(const RunnableSequence& s) {
  if (Decodes(s)) return 0;
  return Missing(s) <= kBlockTokens ? 1 : 2;
}

// As much of the sequence as `room` allows; work that goes on in a later step stops at a block's
// end where it can, so that each step completes whole blocks.
uint32_t PartSize(const RunnableSequence& s, uint32_t room) {
  if (Missing(s) <= room) return Missing(s);
  const uint32_t end = s.computed + room;
  const uint32_t block_end = end / kBlockTokens * kBlockTokens;
  return block_end > s.computed ? block_end - s.computed : room;
}

// The room that `s` may use.
uint32_t TokensFor(const RunnableSequence& s, const Room& room) {
  if (room.sequences == 0) return 0;
  return Decodes(s) ? room.batch_tokens : std::min(room.batch_tokens, room.prefill_tokens);
}

void Use(const RunnableSequence& s, uint32_t tokens, Room* room) {
  room->batch_tokens -= tokens;
  if (!Decodes(s)) room->prefill_tokens -= tokens;
  --room->sequences;
}

void Release(const RunnableSequence& s, uint32_t tokens, Room* room) {
  room->batch_tokens += tokens;
  if (!Decodes(s)) room->prefill_tokens += tokens;
  ++room->sequences;
}

}  // namespace

std::vector<PlannedPart> PlanStep(absl::Span<const RunnableSequence> runnable,
                                  const StepLimits& limits) {
  TANDEM_CHECK(limits.max_batch_tokens > 0 && limits.max_prefill_tokens > 0 &&
               limits.max_sequences > 0);
  std::vector<const RunnableSequence*> order;
  order.reserve(runnable.size());
  for (const RunnableSequence& s : runnable) {
    TANDEM_CHECK(s.computed < s.total);
    order.push_back(&s);
  }
  if (order.empty()) return {};
  std::sort(order.begin(), order.end(), [](const RunnableSequence* a, const RunnableSequence* b) {
    const int class_a = Class(*a);
    const int class_b = Class(*b);
    return class_a != class_b ? class_a < class_b : a->age_rank < b->age_rank;
  });

  // A block's worth is set aside for the oldest until its turn comes, whatever stands before it.
  const RunnableSequence& oldest = **std::min_element(
      order.begin(), order.end(), [](const RunnableSequence* a, const RunnableSequence* b) {
        return a->age_rank < b->age_rank;
      });
  Room room{limits.max_batch_tokens, limits.max_prefill_tokens, limits.max_sequences};
  const uint32_t set_aside = std::min(PartSize(oldest, TokensFor(oldest, room)), kBlockTokens);
  Use(oldest, set_aside, &room);

  std::vector<PlannedPart> plan;
  for (const RunnableSequence* s : order) {
    if (s == &oldest) Release(oldest, set_aside, &room);
    const uint32_t tokens = TokensFor(*s, room);
    if (tokens == 0) continue;
    const uint32_t count = PartSize(*s, tokens);
    Use(*s, count, &room);
    plan.push_back({.key = s->key,
                    .start = s->computed,
                    .count = count,
                    .sample = s->samples && count == Missing(*s)});
  }
  return plan;
}

}  // namespace tandem
