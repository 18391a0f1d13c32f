// CoreTurns runs the RouterCore: it feeds it what comes from the sessions and the front, and
// carries out its effects. The core is touched in turns, one thread at a time:
//
//   nobody has the turn    who brings an event takes it, handles what is queued, gives it back
//   somebody has it        who brings an event queues it and goes; its holder sees it
//   more came meanwhile    a thread that only brought an event hands the turn to the core's own
//                          thread, which goes on until nothing is left
//
// So an event of an idle router waits for no other thread, and under load the core has a thread of
// its own. That thread also keeps the core's deadlines.
//
// Thread-safe. The inbox is bounded for new requests. What the workers send is bounded by their
// sessions' read credits, which go on with the tokens; the end of a request (ClientGone,
// StopMatched) and of a session always finds room, for each belongs to something that was admitted.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "common/base/bounded_queue.h"
#include "common/base/mutex.h"
#include "common/base/worker_thread.h"
#include "common/rpc/session_client.h"
#include "router/core/router_core.h"

namespace tandem {

// Where a request's stream goes: something of the sink's own, kept until the stream has ended.
class StreamRoute {
 public:
  virtual ~StreamRoute() = default;
};

// Receives all streams. Called by whoever has the core's turn; must not block.
class StreamSink {
 public:
  virtual ~StreamSink() = default;
  virtual void OnTokens(const std::shared_ptr<StreamRoute>& route, EmitTokens tokens) = 0;
  virtual void OnEnd(const std::shared_ptr<StreamRoute>& route, EndStream end) = 0;  // the last
  // `credits`: of the frames that this turn handled, to be let go once their tokens have been
  // delivered, so that workers do not run ahead of the clients' threads.
  virtual void OnTurnDone(std::vector<ReadCredit> credits) = 0;
};

class CoreTurns : public SessionClientSink {
 public:
  // `on_stats` is called in every turn, with the totals so far.
  // `streams` outlives this.
  CoreTurns(const RouterCoreOptions& options, std::function<uint64_t()> random_bits,
            StreamSink* streams, std::function<void(const RouterStats&)> on_stats);
  ~CoreTurns() override { Stop(); }

  // Begins to run; what came before waits until then. `sessions` is not owned and must live until
  // Stop.
  void Start(SessionClient* sessions);
  // Ends the thread; what is still queued is dropped. Nobody else may bring events any more.
  // Idempotent.
  void Stop();

  // False: the inbox is full, and the sink will hear nothing of it. The request waits for the next
  // turn; HandleSubmitted takes one if need be. So requests that came together go on together.
  [[nodiscard]] bool Submit(SubmitEvent event, std::shared_ptr<StreamRoute> route);
  void HandleSubmitted();
  void ClientGone(RequestId request);
  void StopMatched(RequestId request);
  // Every request ends with an error, also one that comes later.
  void EndAll();

  // Snapshots; any thread.
  bool ready() const { return ready_.load(std::memory_order_relaxed); }
  uint32_t max_model_len() const { return max_model_len_.load(std::memory_order_relaxed); }

  // SessionClientSink.
  void OnUp(size_t worker, const WorkerHello& hello) override;
  void OnMessages(size_t worker, std::vector<WorkerToRouter> messages, ReadCredit credit) override;
  void OnDown(size_t worker, const absl::Status& reason) override;

 private:
  struct Submission {
    SubmitEvent event;
    std::shared_ptr<StreamRoute> route;
  };
  struct Gone {
    RequestId request;
  };
  struct Matched {
    RequestId request;
  };
  struct Ending {};
  struct Up {
    WorkerIndex worker;
    WorkerHello hello;
  };
  struct Down {
    WorkerIndex worker;
    SessionEnd end;
    std::string reason;
  };
  struct Messages {
    WorkerIndex worker;
    std::vector<WorkerToRouter> messages;
    ReadCredit credit;
  };
  using Event = std::variant<Submission, Gone, Matched, Ending, Up, Down, Messages>;

  // core_turns.cc: who runs.
  void Run();
  void TakeTurn(bool own_thread);
  void UseTurn(bool own_thread);
  void HandOver();
  void SetDeadline(Instant deadline);

  // core_effects.cc: what is done in a turn.
  void HandleQueued();
  void Tick(Instant now);
  void Handle(Event& event, Instant now);
  void CarryOut();
  void Send(uint32_t worker, std::vector<RouterToWorker> messages);
  void RefuseNew(uint32_t worker, std::vector<RouterToWorker>* messages);
  void Publish();

  StreamSink* const streams_;
  const std::function<void(const RouterStats&)> on_stats_;
  BoundedQueue<Event> inbox_;
  std::atomic<bool> ready_{false};
  std::atomic<uint32_t> max_model_len_{0};

  // Announcements of work that no turn has seen to yet; above zero somebody has the turn. The first
  // is Start's.
  std::atomic<uint64_t> announced_{1};
  std::atomic<bool> submitted_{false};  // since the last HandleSubmitted
  // When the core wants a turn, and until when its thread sleeps (the past: it is awake).
  std::atomic<Instant> deadline_{kNever};
  std::atomic<Instant> sleeps_until_{Instant::min()};
  Mutex mutex_;
  CondVar wake_;
  bool handed_over_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;

  // Of whoever has the turn.
  RouterCore core_;
  SessionClient* sessions_ = nullptr;
  std::vector<RouterEffect> effects_;  // of this turn; kept for its memory
  std::vector<ReadCredit> credits_;    // of this turn's frames
  absl::flat_hash_map<RequestId, std::shared_ptr<StreamRoute>> routes_;
  // By worker: what this turn sends; kept for its memory.
  std::vector<std::vector<RouterToWorker>> outgoing_;
  // Requests that a session would not send, or not now; told to the core as the worker's own
  // refusal.
  std::vector<std::pair<WorkerIndex, Refused>> refused_;

  std::optional<WorkerThread> thread_;
};

}  // namespace tandem
