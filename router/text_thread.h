// A thread that does one piece of work with text after the other. What waits is bounded, and
// dropped at the end. Thread-safe.
#pragma once

#include <string>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "common/base/bounded_queue.h"
#include "common/base/worker_thread.h"

namespace tandem {

using TextWork = absl::AnyInvocable<void()>;

class TextThread {
 public:
  TextThread(const std::string& name, size_t max_waiting)
      : queue_(max_waiting), thread_(name, [this] { Run(); }) {}
  ~TextThread() { Stop(); }

  // False: too much waits.
  [[nodiscard]] bool Add(TextWork work) { return queue_.TryPush(std::move(work)); }
  // Idempotent.
  void Stop() {
    queue_.Close();
    thread_.Join();
  }

 private:
  void Run() {
    while (!queue_.closed()) {
      for (TextWork& work : queue_.PopAll(kNever)) {
        if (!queue_.closed()) work();
      }
    }
  }

  BoundedQueue<TextWork> queue_;
  WorkerThread thread_;
};

}  // namespace tandem
