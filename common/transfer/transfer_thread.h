// TransferThread is the shell around a TransferEngine: the thread that owns the transport, fed by a
// bounded queue of commands. It polls while there is work, then arms the transport's wake-up and
// sleeps, so an idle process costs next to nothing.
//
// Submit functions and counters() may be called from any thread; the event callback runs on the
// transfer thread and must not block.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/base/bounded_queue.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/base/worker_thread.h"
#include "common/transfer/transfer_engine.h"

namespace tandem {

struct TransferThreadOptions {
  TransferEngineOptions engine;
  size_t command_capacity = 4096;
  // Shutdown waits this long for segments in flight; what is left then is named in the log.
  Duration shutdown_deadline = std::chrono::seconds(2);
  std::string name = "tandem-transfer";
};

class TransferThread {
 public:
  using EventCallback = std::function<void(std::vector<TransferEvent>)>;

  TransferThread(std::unique_ptr<KvTransport> transport, KvMemory memory,
                 TransferThreadOptions options, EventCallback on_events);
  ~TransferThread();  // shuts down

  // What peers connect to.
  const std::string& address() const { return address_; }

  // New work. False when the queue is full or shut down.
  [[nodiscard]] bool TrySubmit(TransferCommand command);
  // What follows from admitted work: grants, commits, closings. Never refused, dropped after
  // Shutdown.
  void SubmitReserved(TransferCommand command);

  // Ends all peers, reports what was pushed as terminal, stops the thread. True when no memory is
  // in use by the transport any more. Idempotent.
  bool Shutdown();

  // A recent copy.
  TransferCounters counters() const;

 private:
  // On the transfer thread:
  void Run();
  bool HandleCommands();
  void Sleep();
  void WaitForEvents(Instant deadline);
  void Deliver();
  void PublishCounters();
  void Finish();
  // On any thread:
  void Wake();

  const std::unique_ptr<KvTransport> transport_;
  const std::string address_;
  const TransferThreadOptions options_;
  const EventCallback on_events_;
  TransferEngine engine_;  // transfer thread only
  BoundedQueue<TransferCommand> commands_;
  const int wake_fd_;
  std::atomic<bool> asleep_{false};
  std::atomic<bool> stopping_{false};
  std::atomic<bool> clean_{false};
  mutable Mutex mutex_;
  TransferCounters counters_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<WorkerThread> thread_;
};

}  // namespace tandem
