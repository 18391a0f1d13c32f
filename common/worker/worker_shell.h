// WorkerShell: the threads and connections around a worker's core. It delivers sessions, transfers
// and finished steps to the core's inbox, runs the core on the thread that calls Run, and carries
// out what the core asks for.
//
//   gRPC threads ─┐                        ┌─▶ SessionServer
//   transfer ─────┼─▶ inbox ─▶ core thread ┼─▶ TransferThread
//   runner ───────┘                        └─▶ RunnerThread
//
// Nothing is refused: what routers may send ahead is bounded by their sessions' read credits, the
// rest follows from admitted work; new work is admitted during a hold too, for a core has a bound
// on it (max_sequences, max_jobs) and the answers count against the backlog's limits. While a
// router reads more slowly than the core's messages are made, finished steps wait, so that the core
// plans no further ones. That halts the streams of all routers; so a router whose backlog has stood
// for the sessions' silence limit loses its session. Both workers' mains own one; it knows nothing
// of their roles.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/bounded_queue.h"
#include "common/base/clock.h"
#include "common/engine/worker_core.h"
#include "common/model/runner_thread.h"
#include "common/model/step_executor.h"
#include "common/protocol/router_messages.h"
#include "common/rpc/session_server.h"
#include "common/telemetry/log.h"
#include "common/transfer/transfer_thread.h"

namespace tandem {

struct WorkerShellOptions {
  WorkerHello hello;  // its transfer_address and an empty worker_name are filled in by Start
  SessionServer::Options server;
  TransferThreadOptions transfer;
  Duration drain_limit = std::chrono::seconds(30);  // after SIGTERM; then what is left is cancelled
};

class WorkerShell : private SessionSink {
 public:
  // What the metrics need to know, told on the core thread.
  struct Observer {
    std::function<void(const StepPlan& plan)> on_submitted = [](const StepPlan&) {};
    std::function<void(const StepDone& done)> on_step_done = [](const StepDone&) {};
    // Within 100 ms of each batch of events.
    std::function<void()> on_turn = [] {};
    // What the runner did begins to wait for a slow router.
    std::function<void()> on_hold = [] {};
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

  // Runs the core until RequestStop and then until it is idle and the routers have been written all
  // it sent, or the drain limit has passed. False when the transport could not give all memory
  // back.
  bool Run();
  // The first call drains, a second one ends at once. Any thread.
  void RequestStop();

 private:
  WorkerShell(WorkerShellOptions options, WorkerCore* core, Observer observer);

  void OnOpened(SessionId session, const RouterHello& hello) override;
  void OnMessages(SessionId session, std::vector<RouterToWorker> messages,
                  ReadCredit credit) override;
  void OnBacklogCleared() override { inbox_.Wake(); }
  void OnClosed(SessionId session, const absl::Status& reason) override;

  struct Arrival {
    WorkerEvent event;
    ReadCredit credit;  // of a frame; let go once its turn is over
  };

  void Post(WorkerEvent event) { inbox_.PushReserved({std::move(event), ReadCredit()}); }
  std::vector<Arrival> Await(Instant deadline);
  void BeginHold();
  std::vector<Arrival> EndHold();
  void CarryOut(WorkerEffects effects);

  const WorkerShellOptions options_;
  WorkerCore* const core_;
  const Observer observer_;
  BoundedQueue<Arrival> inbox_{0};  // only reserved places
  // Held back for a slow router: finished steps, layers and dropped sequences, all of the steps in
  // flight. Core thread, like the next two.
  std::vector<Arrival> held_runner_events_;
  Instant hold_began_{};  // the latest one
  Level hold_level_ = Level::kInfo;
  std::atomic<int> stop_requests_{0};
  std::unique_ptr<TransferThread> transfer_;
  std::unique_ptr<RunnerThread> runner_;
  std::unique_ptr<SessionServer> server_;  // last: it calls into all of the above
};

}  // namespace tandem
