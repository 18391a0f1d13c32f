#include "common/engine/step_planner.h"

#include <algorithm>
#include <tuple>

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

bool Interactive(const RunnableSequence& s) { return s.lane == Lane::kInteractive; }

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

// The time that a step may take. Sequences come in the planner's order; each stage narrows the
// limit, from the work planned before it.
class TimeRoom {
 public:
  // `arriving`: how many interactive sequences will decode that do not yet.
  TimeRoom(const StepLimits& limits, const StepCostModel& cost, uint32_t arriving)
      : limits_(limits), cost_(cost), arriving_{.rows = arriving} {}

  // The next sequence is `s`.
  void Reach(const RunnableSequence& s) {
    if (stage_ == Stage::kDecoding && !(Interactive(s) && Decodes(s))) EndDecoding();
    if (stage_ == Stage::kInteractive && !Interactive(s)) EndInteractive();
  }

  // The largest number of tokens of `s`, at most `most`, that keeps the step within its time.
  uint32_t TokensThatFit(const RunnableSequence& s, uint32_t most) const {
    if (limit_ == Duration::max()) return most;
    uint32_t fits = 0;
    for (uint32_t too_many = most + 1; too_many - fits > 1;) {
      const uint32_t count = fits + (too_many - fits) / 2;
      (cost_.Predict(work_ + WorkOf(s.computed, count)) <= limit_ ? fits : too_many) = count;
    }
    return fits;
  }
  void Use(const RunnableSequence& s, uint32_t count) { work_ += WorkOf(s.computed, count); }

 private:
  enum class Stage : uint8_t { kDecoding, kInteractive, kBulk };

  void EndDecoding() {
    stage_ = Stage::kInteractive;
    decodes_ = work_.rows > 0;
    if (!cost_.fitted()) return;
    if (limits_.max_time > Duration::zero()) {
      limit_ = limits_.max_time;
    } else if (decodes_) {
      LimitToStretchOf(work_ + arriving_);
    }
  }
  void EndInteractive() {
    stage_ = Stage::kBulk;
    if (work_.rows == 0) {
      limit_ = Duration::max();  // nobody waits for it
    } else if (!decodes_ && cost_.fitted()) {
      LimitToStretchOf(work_);
    }
  }
  void LimitToStretchOf(const StepWork& work) {
    if (limits_.max_stretch <= 0) return;
    const auto stretched =
        std::chrono::duration_cast<Duration>(limits_.max_stretch * cost_.Predict(work));
    limit_ = std::min(limit_, stretched);
  }

  const StepLimits& limits_;
  const StepCostModel& cost_;
  const StepWork arriving_;  // their rows; what they attend to is their own affair
  StepWork work_;
  Stage stage_ = Stage::kDecoding;
  bool decodes_ = false;  // something interactive does
  Duration limit_ = Duration::max();
};

// See TimeRoom.
uint32_t Arriving(absl::Span<const RunnableSequence> runnable) {
  return std::count_if(runnable.begin(), runnable.end(), [](const RunnableSequence& s) {
    return Interactive(s) && !Decodes(s) && s.samples;
  });
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

// The oldest that fits the description; null without any.
template <class Predicate>
const RunnableSequence* OldestOf(absl::Span<const RunnableSequence* const> sequences,
                                 const Predicate& matches) {
  const RunnableSequence* oldest = nullptr;
  for (const RunnableSequence* s : sequences) {
    if (matches(*s) && (oldest == nullptr || s->age_rank < oldest->age_rank)) oldest = s;
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
    return std::tuple(a->lane, Class(*a), a->age_rank) <
           std::tuple(b->lane, Class(*b), b->age_rank);
  });

  // A block's worth is set aside for the oldest until its turn comes, whatever stands before it.
  const RunnableSequence& oldest = *OldestOf(order, [](const RunnableSequence&) { return true; });
  Room room{limits.max_batch_tokens, limits.max_prefill_tokens, limits.max_sequences};
  const uint32_t set_aside = std::min(PartSize(oldest, TokensFor(oldest, room)), kBlockTokens);
  Use(oldest, set_aside, &room);
  const RunnableSequence* const oldest_long =
      OldestOf(order, [](const RunnableSequence& s) { return !Decodes(s); });
  const RunnableSequence* const oldest_interactive_long =
      OldestOf(order, [](const RunnableSequence& s) { return !Decodes(s) && Interactive(s); });

  std::vector<PlannedPart> plan;
  TimeRoom time(limits, cost, Arriving(runnable));
  for (const RunnableSequence* s : order) {
    if (s == &oldest) Release(oldest, set_aside, &room);
    time.Reach(*s);
    uint32_t tokens = TokensFor(*s, room);
    const uint32_t in_time = time.TokensThatFit(*s, std::min(tokens, Missing(*s)));
    const bool must_move = s == &oldest || s == oldest_long || s == oldest_interactive_long;
    tokens = std::min(tokens, must_move ? std::max(in_time, s->grain) : in_time);
    if (tokens < s->grain) continue;
    const uint32_t count = PartSize(*s, tokens);
    time.Use(*s, count);
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
