#include "tests/sim/sim_engine.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"

namespace tandem::sim {
namespace {

constexpr Duration kStepTime = std::chrono::microseconds(2500);
constexpr Duration kTokenTime = std::chrono::microseconds(100);

}  // namespace

SimEngine::SimEngine(std::string owner, SimMemory* memory, const PrefixTree* prefixes,
                     Oracle* oracle, Random* random, const SimEngineFaults* faults,
                     const EventQueue* clock, Later later, std::function<void(RunnerEvent)> emit)
    : owner_(std::move(owner)),
      memory_(memory),
      prefixes_(prefixes),
      oracle_(oracle),
      random_(random),
      faults_(faults),
      clock_(clock),
      later_(std::move(later)),
      emit_(std::move(emit)) {}

void SimEngine::Submit(StepPlan plan) {
  oracle_->Require(!plan.sequences.empty(), owner_, ": an empty step was submitted");
  oracle_->Require(steps_.size() < kMaxStepsInFlight, owner_, ": too many steps in flight");
  if (steps_.empty()) progress_ = clock_->now();
  steps_.push_back(std::move(plan));
  if (steps_.size() == 1) StartNext();
}

void SimEngine::Drop(StepDrop drop) { drops_.push_back(drop); }

// Those of steps that are over are without effect.
void SimEngine::ApplyDrops() {
  for (const StepDrop& drop : std::exchange(drops_, {})) {
    for (StepPlan& plan : steps_) {
      if (plan.id != drop.step) continue;
      const auto found =
          std::find_if(plan.sequences.begin(), plan.sequences.end(),
                       [&](const StepSequence& sequence) { return sequence.key == drop.key; });
      oracle_->Require(found != plan.sequences.end(), owner_, ": a sequence was dropped twice");
      if (oracle_->failed()) return;
      if (&plan == &steps_.front())
        attending_.erase(attending_.begin() + (found - plan.sequences.begin()));
      plan.sequences.erase(found);
      emit_(SequenceDropped{drop.step, drop.key});
    }
  }
}

Duration SimEngine::ProgressAge() const {
  return steps_.empty() ? Duration{} : clock_->now() - progress_;
}

void SimEngine::StartNext() {
  const StepPlan& plan = steps_.front();
  size_t tokens = 0;
  for (const StepSequence& sequence : plan.sequences) tokens += sequence.tokens.size();
  layer_time_ = (kStepTime + tokens * kTokenTime) / memory_->num_layers();
  attending_.assign(plan.sequences.size(), {});
  if (random_->Chance(faults_->fail)) return later_(layer_time_, [this] { Fail(); });
  Duration delay = layer_time_;
  if (random_->Chance(faults_->slow)) delay += random_->Between(Duration{}, faults_->slowness);
  later_(delay, [this] { RunLayer(0); });
}

void SimEngine::RunLayer(uint32_t layer) {
  progress_ = clock_->now();
  ApplyDrops();
  const StepPlan& plan = steps_.front();
  if (plan.sequences.empty()) return Finish();
  for (size_t i = 0; i < plan.sequences.size(); ++i) {
    if (layer == 0) FindPrefix(plan.sequences[i], &attending_[i]);
    if (oracle_->failed()) return;
    CheckAttended(plan.sequences[i], attending_[i], layer);
    WriteTokens(plan.sequences[i], attending_[i], layer);
  }
  if (plan.report_layers) emit_(LayerDone{plan.id, layer});
  if (layer + 1 == memory_->num_layers()) return Finish();
  later_(layer_time_, [this, layer] { RunLayer(layer + 1); });
}

void SimEngine::FindPrefix(const StepSequence& sequence, Attending* attending) {
  const uint32_t start = sequence.start;
  oracle_->Require(BlocksCovering(start + static_cast<uint32_t>(sequence.tokens.size())) ==
                       sequence.block_table.size(),
                   owner_, ": a block table does not fit its step");
  if (oracle_->failed()) return;
  if (tainted_.contains(sequence.key)) {
    attending->tainted = true;
    for (size_t i = 0; i < sequence.tokens.size(); ++i) {
      attending->hashes.push_back(random_->Next());
    }
    return;
  }
  uint64_t prefix = kEmptyPrefix;
  if (start > 0) {
    const uint32_t last = start - 1;
    prefix = memory_->Read(0, sequence.block_table[last / kBlockTokens], last % kBlockTokens);
    attending->node = prefixes_->Find(prefix);
    const bool known = attending->node >= 0 && prefixes_->at(attending->node).position == last;
    if (!known) {
      return oracle_->Fail(owner_, ": KV of layer 0, position ", last, " in block ",
                           sequence.block_table[last / kBlockTokens].value(),
                           " is of no prefix of this length");
    }
  }
  for (const TokenId token : sequence.tokens) {
    prefix = ExtendPrefix(prefix, token);
    attending->hashes.push_back(prefix);
  }
  oracle_->Require(prefixes_->Find(prefix) >= 0, owner_, ": the KV before position ", start,
                   " belongs to other tokens than those that the step adds");
}

// All positions before the step, in this layer.
void SimEngine::CheckAttended(const StepSequence& sequence, const Attending& attending,
                              uint32_t layer) {
  if (attending.tainted) return;
  int32_t node = attending.node;
  for (uint32_t position = sequence.start; position-- > 0;) {
    const PrefixTree::Node& expected = prefixes_->at(node);
    const BlockId block = sequence.block_table[position / kBlockTokens];
    if (memory_->Read(layer, block, position % kBlockTokens) != KvValue(expected.prefix, layer)) {
      return oracle_->Fail(owner_, ": wrong KV in layer ", layer, ", position ", position,
                           ", block ", block.value(), " at step ", steps_.front().id.value());
    }
    node = expected.parent;
  }
}

void SimEngine::WriteTokens(const StepSequence& sequence, const Attending& attending,
                            uint32_t layer) {
  for (uint32_t i = 0; i < sequence.tokens.size(); ++i) {
    const uint32_t position = sequence.start + i;
    memory_->Write(layer, sequence.block_table[position / kBlockTokens], position % kBlockTokens,
                   KvValue(attending.hashes[i], layer));
  }
}

void SimEngine::Finish() {
  const StepPlan plan = std::move(steps_.front());
  steps_.pop_front();
  StepDone done{.step = plan.id, .status = absl::OkStatus(), .sampled = {}, .computing = {}};
  for (size_t i = 0; i < plan.sequences.size(); ++i) {
    if (!plan.sequences[i].sample) continue;
    SampledToken sampled = DrawToken(attending_[i].hashes.back(), *plan.sequences[i].sample);
    sampled.key = plan.sequences[i].key;
    if (random_->Chance(faults_->unsampled)) sampled.status = absl::InternalError("no token");
    done.sampled.push_back(std::move(sampled));
  }
  emit_(std::move(done));
  if (!steps_.empty()) StartNext();
}

void SimEngine::Fail() {
  const StepPlan plan = std::move(steps_.front());
  steps_.pop_front();
  for (const StepSequence& sequence : plan.sequences) {
    tainted_.insert(sequence.key);
    for (uint32_t i = 0; i < sequence.tokens.size(); ++i) {
      const uint32_t position = sequence.start + i;
      for (uint32_t layer = 0; layer < memory_->num_layers(); ++layer) {
        memory_->Write(layer, sequence.block_table[position / kBlockTokens],
                       position % kBlockTokens, random_->Next());
      }
    }
  }
  emit_(StepDone{.step = plan.id,
                 .status = absl::InternalError("the engine failed"),
                 .sampled = {},
                 .computing = {}});
  if (!steps_.empty()) StartNext();
}

}  // namespace tandem::sim
