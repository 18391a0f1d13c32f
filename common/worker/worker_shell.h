// WorkerShell: the threads and connections around a worker's core. It delivers sessions, transfers
// and finished steps to the core's inbox, runs the core on the thread that calls Run, and carries
// out what the core asks for.
//
//   gRPC threads ─┐                        ┌─▶ SessionServer
//   transfer ─────┼─▶ inbox ─▶ core thread ┼─▶ TransferThread
//   runner ───────┘                        └─▶ RunnerThread
//
// Only new work (router messages) can be refused, by ending its session; completions have reserved
// places in the inbox. Both workers' mains own one; it knows nothing of their roles.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/bounded_queue.h"
#include "common/base/clock.h"
#include "common/engine/worker_core.h"
#include "common/model/runner_thread.h"
#include "common/model/step_executor.h"
#include "common/protocol/router_messages.h"
#include "common/rpc/session_server.h"
#include "common/transfer/transfer_thread.h"

namespace tandem {

struct WorkerShellOptions {
  WorkerHello hello;  // its transfer_address and an empty worker_name are filled in by Start
  SessionServer::Options server;
  TransferThreadOptions transfer;
  size_t inbox_capacity = 16384;                    // batches of router messages
  Duration drain_limit = std::chrono::seconds(30);  // after SIGTERM; then what is left is cancelled
};

class WorkerShell : private SessionSink {
 public:
  // What the metrics need to know, told on the core thread.
  struct Observer {
    std::function<void(const StepPlan& plan)> on_submitted;
    std::function<void(const StepDone& done)> on_step_done;
    std::function<void()> on_turn;  // within 100 ms of each batch of events
  };

  // Listens and connects. All pointers outlive the shell.
  static absl::StatusOr<std::unique_ptr<WorkerShell>> Start(WorkerShellOptions options,
                                                            WorkerCore* core,
                                                            StepExecutor* executor, KvMemory memory,
                                                            std::unique_ptr<KvTransport> transport,
                                                            Observer observer);
  ~WorkerShell() override;

  uint16_t port() const { return server_->port(); }
  TransferCounters transfer_counters() const { return transfer_->counters(); }

  // Runs the core until RequestStop and then until it is idle or the drain limit has passed. False
  // when the transport could not give all memory back.
  bool Run();
  // The first call drains, a second one ends at once. Any thread.
  void RequestStop();

 private:
  WorkerShell(WorkerShellOptions options, WorkerCore* core, Observer observer);

  void OnOpened(SessionId session, const RouterHello& hello) override;
  bool OnMessages(SessionId session, std::vector<RouterToWorker> messages) override;
  void OnClosed(SessionId session, const absl::Status& reason) override;

  void CarryOut(WorkerEffects effects);

  const WorkerShellOptions options_;
  WorkerCore* const core_;
  const Observer observer_;
  BoundedQueue<WorkerEvent> inbox_;
  std::atomic<int> stop_requests_{0};
  std::unique_ptr<TransferThread> transfer_;
  std::unique_ptr<RunnerThread> runner_;
  std::unique_ptr<SessionServer> server_;  // last: it calls into all of the above
};

}  // namespace tandem
