#include "common/engine/step_planner.h"

#include <algorithm>
#include <optional>

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

// The time that a step may take, known once its decoding is planned.
class TimeRoom {
 public:
  TimeRoom(const StepLimits& limits, const StepCostModel& cost, const StepWork& decoding)
      : cost_(cost), work_(decoding) {
    if (!cost.fitted()) return;
    if (limits.max_time > Duration::zero()) {
      limit_ = limits.max_time;
    } else if (limits.max_stretch > 0 && decoding.rows > 0) {
      limit_ = std::chrono::duration_cast<Duration>(limits.max_stretch * cost.Predict(decoding));
    }
  }

  // The largest number of tokens of `s`, at most `most`, that keeps the step within its time.
  uint32_t TokensThatFit(const RunnableSequence& s, uint32_t most) const {
    uint32_t fits = 0;
    for (uint32_t too_many = most + 1; too_many - fits > 1;) {
      const uint32_t count = fits + (too_many - fits) / 2;
      (cost_.Predict(work_ + WorkOf(s.computed, count)) <= limit_ ? fits : too_many) = count;
    }
    return fits;
  }
  void Use(const RunnableSequence& s, uint32_t count) { work_ += WorkOf(s.computed, count); }

 private:
  const StepCostModel& cost_;
  StepWork work_;
  Duration limit_ = Duration::max();
};

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

// Of those with more than one token missing; null without any.
const RunnableSequence* OldestLong(absl::Span<const RunnableSequence* const> sequences) {
  const RunnableSequence* oldest = nullptr;
  for (const RunnableSequence* s : sequences) {
    if (!Decodes(*s) && (oldest == nullptr || s->age_rank < oldest->age_rank)) oldest = s;
  }
  return oldest;
}

void Release(const RunnableSequence& s, uint32_t tokens, Room* room) {
  room->batch_tokens += tokens;
  if (!Decodes(s)) room->prefill_tokens += tokens;
  ++room->sequences;
}

}  // namespace

std::vector<PlannedPart> PlanStep(absl::Span<const RunnableSequence> runnable,
                                  const StepLimits& limits, const StepCostModel& cost) {
  TANDEM_CHECK(limits.max_batch_tokens > 0 && limits.max_prefill_tokens > 0 &&
               limits.max_sequences > 0);
  std::vector<const RunnableSequence*> order;
  order.reserve(runnable.size());
  for (const RunnableSequence& s : runnable) {
    TANDEM_CHECK(s.computed < s.total && Missing(s) % s.grain == 0);
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
  std::optional<TimeRoom> time;  // from the first one on that does not decode
  const RunnableSequence* const oldest_long = OldestLong(order);
  for (const RunnableSequence* s : order) {
    if (s == &oldest) Release(oldest, set_aside, &room);
    uint32_t tokens = TokensFor(*s, room);
    if (!Decodes(*s)) {
      if (!time) time.emplace(limits, cost, WorkOf(plan));
      const uint32_t in_time = time->TokensThatFit(*s, std::min(tokens, Missing(*s)));
      tokens = std::min(tokens, s == oldest_long ? std::max(in_time, s->grain) : in_time);
    }
    if (tokens < s->grain) continue;
    const uint32_t count = PartSize(*s, tokens);
    if (time) time->Use(*s, count);
    Use(*s, count, &room);
    plan.push_back({.key = s->key,
                    .start = s->computed,
                    .count = count,
                    .sample = s->samples && count == Missing(*s)});
  }
  return plan;
}

StepWork WorkOf(absl::Span<const PlannedPart> parts) {
  StepWork work;
  for (const PlannedPart& part : parts) work += WorkOf(part.start, part.count);
  return work;
}

}  // namespace tandem
