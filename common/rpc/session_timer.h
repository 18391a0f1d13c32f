// The one thread that keeps the time of all sessions of a server or client: silence, back-off, late
// closings. Sleeps until the next deadline, so idle sessions cost about one wake-up per silence
// limit.
#pragma once

#include <algorithm>
#include <functional>
#include <string>
#include <utility>

#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/base/worker_thread.h"

namespace tandem {

class SessionTimer {
 public:
  // `tick(now)` does what is due and returns when it wants to be called next; called on the timer's
  // thread only.
  SessionTimer(const std::string& name, std::function<Instant(Instant now)> tick)
      : tick_(std::move(tick)), thread_(name, [this] { Run(); }) {}
  ~SessionTimer() { Stop(); }

  // Calls tick soon. Thread-safe.
  void Wake() {
    MutexLock lock(&mutex_);
    woken_ = true;
    changed_.NotifyOne();
  }

  // After return no tick runs. Not to be called from tick.
  void Stop() {
    {
      MutexLock lock(&mutex_);
      stopped_ = true;
      changed_.NotifyOne();
    }
    thread_.Join();
  }

 private:
  void Run() {
    while (true) {
      const Instant next = tick_(SystemClock().Now());
      const Instant wake_at = std::max(next, SystemClock().Now() + kShortestSleep);
      if (Sleep(wake_at)) return;
      // A process that was itself kept from running lets its reading threads catch up before it
      // calls others silent.
      const Instant now = SystemClock().Now();
      if (wake_at != kNever && now > wake_at + kOverslept && Sleep(now + kOverslept)) return;
    }
  }

  // Until `wake_at` or Wake. True: stopped.
  bool Sleep(Instant wake_at) {
    MutexLock lock(&mutex_);
    changed_.WaitUntil(&mutex_, wake_at,
                       [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return woken_ || stopped_; });
    woken_ = false;
    return stopped_;
  }

  // A floor on the sleep bounds what a misbehaving deadline can cost.
  static constexpr Duration kShortestSleep = std::chrono::milliseconds(1);
  static constexpr Duration kOverslept = std::chrono::milliseconds(250);

  const std::function<Instant(Instant)> tick_;
  Mutex mutex_;
  CondVar changed_;
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  WorkerThread thread_;  // last: starts when all else is ready
};

}  // namespace tandem
