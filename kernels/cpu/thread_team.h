// ThreadTeam: the ParallelFor of the CPU backends. N threads, the caller included; with one thread
// it runs inline.
//
// Threads claim tasks one by one, and Run waits for claimed tasks only: a worker that the operating
// system has not let run in time costs nothing but its help. Workers wait for the next Run by
// spinning for a short budget, because a futex wake-up costs more than a small matmul, and then
// park, so an idle team uses no processor time. Spinning yields the core again and again, so that
// other programs on the same cores are not held up.
//
// Owned and called by one thread (the model runner). Not a general task queue: one Run at a time,
// tasks must not block.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"
#include "kernels/parallel_for.h"

namespace tandem {

class ThreadTeam final : public ParallelFor {
 public:
  // REQUIRES: num_threads >= 1. `spin` is how long a waiting thread polls before it parks.
  explicit ThreadTeam(int num_threads,
                      std::chrono::microseconds spin = std::chrono::microseconds(50));
  ~ThreadTeam() override;  // joins
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  int num_threads() const override { return static_cast<int>(workers_.size()) + 1; }
  void Run(int num_tasks, absl::FunctionRef<void(int task, int thread)> task) override;

 private:
  void WorkerLoop(int thread);
  // Claims and runs tasks of the current job until none is left.
  void DrainTasks(int thread);
  // Returns true once done() holds, false if the spin budget ends before.
  template <class Done>
  bool Spin(Done done) const;

  const std::chrono::microseconds spin_;

  // The job. Written by Run before claim_ names it; stays until its last task has finished, so a
  // thread that has claimed a task may read it.
  const absl::FunctionRef<void(int, int)>* job_ = nullptr;
  int job_tasks_ = 0;

  // High half: the job's number. Low half: its unclaimed tasks. One word, so that a late thread
  // cannot claim from a job it has not seen.
  alignas(64) std::atomic<uint64_t> claim_{0};
  alignas(64) std::atomic<uint32_t> unfinished_{0};  // tasks of the job not yet finished
  alignas(64) std::atomic<uint32_t> epoch_{
      0};  // raised by every Run and at the end; workers wait for it
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> workers_;
};

}  // namespace tandem
