#include "kernels/cpu/thread_team.h"

#include <immintrin.h>

#include "common/base/check.h"
#include "common/base/time_slice.h"

namespace tandem {

ThreadTeam::ThreadTeam(int num_threads, std::chrono::microseconds spin) : spin_(spin) {
  TANDEM_CHECK(num_threads >= 1);
  // Sized first: workers never look at the vector, but num_threads() must not change under a
  // caller.
  workers_.reserve(num_threads - 1);
  for (int thread = 1; thread < num_threads; ++thread) {
    workers_.emplace_back([this, thread] { WorkerLoop(thread); });
  }
}

ThreadTeam::~ThreadTeam() {
  stopping_.store(true, std::memory_order_relaxed);
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadTeam::Run(int num_tasks, absl::FunctionRef<void(int task, int thread)> task) {
  TANDEM_CHECK(num_tasks >= 0);
  if (workers_.empty() || num_tasks <= 1) {
    for (int i = 0; i < num_tasks; ++i) task(i, 0);
    return;
  }
  job_ = &task;
  job_tasks_ = num_tasks;
  unfinished_.store(num_tasks, std::memory_order_relaxed);
  const uint64_t number = (claim_.load(std::memory_order_relaxed) >> 32) + 1;
  claim_.store(number << 32 | static_cast<uint32_t>(num_tasks), std::memory_order_release);
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();  // no system call when nobody is parked

  DrainTasks(0);
  if (Spin([this] { return unfinished_.load(std::memory_order_acquire) == 0; })) return;
  while (const uint32_t left = unfinished_.load(std::memory_order_acquire)) {
    unfinished_.wait(left, std::memory_order_acquire);
  }
}

void ThreadTeam::DrainTasks(int thread) {
  uint64_t claim = claim_.load(std::memory_order_acquire);
  while (static_cast<uint32_t>(claim) != 0) {
    if (!claim_.compare_exchange_weak(claim, claim - 1, std::memory_order_acq_rel,
                                      std::memory_order_acquire)) {
      continue;
    }
    (*job_)(job_tasks_ - static_cast<int>(static_cast<uint32_t>(claim)), thread);
    if (unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1) unfinished_.notify_one();
    claim = claim_.load(std::memory_order_acquire);
  }
}

void ThreadTeam::WorkerLoop(int thread) {
  AskForDefaultSlices();
  while (true) {
    // Read before draining: a Run that comes after this line ends the wait below.
    const uint32_t seen = epoch_.load(std::memory_order_acquire);
    if (stopping_.load(std::memory_order_relaxed)) return;
    DrainTasks(thread);
    const auto changed = [&] { return epoch_.load(std::memory_order_acquire) != seen; };
    if (!Spin(changed)) epoch_.wait(seen, std::memory_order_acquire);
  }
}

template <class Done>
bool ThreadTeam::Spin(Done done) const {
  if (done()) return true;
  const auto deadline = std::chrono::steady_clock::now() + spin_;
  do {
    for (int i = 0; i < 64; ++i) {
      if (done()) return true;
      _mm_pause();
    }
    std::this_thread::yield();
  } while (std::chrono::steady_clock::now() < deadline);
  return done();
}

}  // namespace tandem
