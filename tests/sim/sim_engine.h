// SimEngine stands in for a worker's runner thread and its model. It executes step plans one after
// the other, a layer at a time, in virtual time: it reads all KV that the step attends to and
// checks every value, writes the KV of the step's tokens, and draws the tokens that are wanted.
//
// Belongs to one life of a worker. Faults: a step that fails leaves garbage in its blocks, and so
// do later steps of its sequences, which report success as a real runner would; a slow step makes
// no progress for seconds.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "common/base/clock.h"
#include "common/engine/step.h"
#include "tests/sim/event_queue.h"
#include "tests/sim/oracle.h"
#include "tests/sim/random.h"
#include "tests/sim/sim_memory.h"
#include "tests/sim/sim_model.h"

namespace tandem::sim {

struct SimEngineFaults {
  double fail = 0;       // of a step
  double unsampled = 0;  // of a token that a step is to draw
  double slow = 0;       // of a step
  Duration slowness{};   // at most, of a slow step
};

class SimEngine {
 public:
  // Runs an action after a delay, unless the worker's life is over by then.
  using Later = std::function<void(Duration, std::function<void()>)>;

  SimEngine(std::string owner, SimMemory* memory, const PrefixTree* prefixes, Oracle* oracle,
            Random* random, const SimEngineFaults* faults, const EventQueue* clock, Later later,
            std::function<void(RunnerEvent)> emit);

  void Submit(StepPlan plan);
  // Takes effect before the next layer of whatever step runs.
  void Drop(StepDrop drop);
  // Since the last layer or step while there is work; zero when idle.
  Duration ProgressAge() const;

 private:
  // A sequence of the running step.
  struct Attending {
    int32_t node = -1;  // of the last token before the step; -1: none
    bool tainted = false;
    std::vector<uint64_t> hashes;  // prefixes that end in the step's tokens
  };

  void StartNext();
  void ApplyDrops();
  void RunLayer(uint32_t layer);
  void FindPrefix(const StepSequence& sequence, Attending* attending);
  void CheckAttended(const StepSequence& sequence, const Attending& attending, uint32_t layer);
  void WriteTokens(const StepSequence& sequence, const Attending& attending, uint32_t layer);
  void Finish();
  void Fail();

  const std::string owner_;
  SimMemory* const memory_;
  const PrefixTree* const prefixes_;
  Oracle* const oracle_;
  Random* const random_;
  const SimEngineFaults* const faults_;
  const EventQueue* const clock_;
  const Later later_;
  const std::function<void(RunnerEvent)> emit_;

  std::deque<StepPlan> steps_;  // the first one runs
  std::vector<StepDrop> drops_;
  std::vector<Attending> attending_;  // by sequence of the running step
  Duration layer_time_{};
  Instant progress_;
  absl::flat_hash_set<SequenceKey> tainted_;  // of failed steps
};

}  // namespace tandem::sim
