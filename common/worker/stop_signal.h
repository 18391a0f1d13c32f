// StopSignal turns SIGINT and SIGTERM into calls of a function, on a thread of its own.
//
// Block must be called by main before any thread starts, so that no other thread takes the signals.
#pragma once

#include <functional>

#include "common/base/worker_thread.h"

namespace tandem {

class StopSignal {
 public:
  static void Block();

  // `on_signal` is called once for each signal until destruction.
  explicit StopSignal(std::function<void()> on_signal);
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

 private:
  int signal_fd_;
  int end_fd_;
  WorkerThread thread_;  // last: it uses both
};

}  // namespace tandem
