// ParallelFor spreads independent tasks over a fixed set of threads. Backends are handed one and
// never start threads of their own. cpu/thread_team.h is the real one. Thread rule: Run is called
// by one thread at a time and never from inside a task.
#pragma once

#include "absl/functional/function_ref.h"

namespace tandem {

class ParallelFor {
 public:
  virtual ~ParallelFor() = default;

  // Threads that may run tasks at the same time, the caller included; constant, at least 1.
  virtual int num_threads() const = 0;

  // Calls task(i, thread) once for each i in [0, num_tasks), thread in [0, num_threads()), and
  // returns when all have finished; what they wrote is then visible to the caller. Which thread
  // runs which task is not specified, so results must not depend on it. Two tasks with the same
  // `thread` never overlap: per-thread scratch needs no lock.
  virtual void Run(int num_tasks, absl::FunctionRef<void(int task, int thread)> task) = 0;
};

}  // namespace tandem
