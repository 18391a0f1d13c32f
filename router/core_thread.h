// CoreThread runs the RouterCore: it feeds it what comes from the sessions and the front, and
// carries out its effects. The only thread that touches the core.
//
// Thread-safe. The inbox is bounded for new requests and for what the workers send; the end of a
// request (ClientGone, StopMatched) and of a session always finds room, for each belongs to
// something that was admitted.
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
#include "common/base/worker_thread.h"
#include "common/rpc/session_client.h"
#include "router/core/router_core.h"

namespace tandem {

// Receives one request's stream. Called on the core thread; must not block.
class StreamListener {
 public:
  virtual ~StreamListener() = default;
  virtual void OnTokens(EmitTokens tokens) = 0;
  virtual void OnEnd(EndStream end) = 0;  // the last call
};

class CoreThread : public SessionClientSink {
 public:
  // `on_stats` is called on the core thread after every batch of events, with the totals so far.
  CoreThread(const RouterCoreOptions& options, std::function<uint64_t()> random_bits,
             std::function<void(const RouterStats&)> on_stats);
  ~CoreThread() override { Stop(); }

  // Begins to run. `sessions` is not owned and must live until Stop.
  void Start(SessionClient* sessions);
  // Ends the thread; what is still queued is dropped. Idempotent.
  void Stop();

  // False: the inbox is full, and the listener will hear nothing.
  [[nodiscard]] bool Submit(SubmitEvent event, std::shared_ptr<StreamListener> listener);
  void ClientGone(RequestId request);
  void StopMatched(RequestId request);

  // Snapshots; any thread.
  bool ready() const { return ready_.load(std::memory_order_relaxed); }
  uint32_t max_model_len() const { return max_model_len_.load(std::memory_order_relaxed); }

  // SessionClientSink.
  void OnUp(size_t worker, const WorkerHello& hello) override;
  bool OnMessages(size_t worker, std::vector<WorkerToRouter> messages) override;
  void OnDown(size_t worker, const absl::Status& reason) override;

 private:
  struct Submission {
    SubmitEvent event;
    std::shared_ptr<StreamListener> listener;
  };
  struct Gone {
    RequestId request;
  };
  struct Matched {
    RequestId request;
  };
  struct Up {
    WorkerIndex worker;
    WorkerHello hello;
  };
  struct Down {
    WorkerIndex worker;
    std::string reason;
  };
  struct Messages {
    WorkerIndex worker;
    std::vector<WorkerToRouter> messages;
  };
  using Event = std::variant<Submission, Gone, Matched, Up, Down, Messages>;

  void Run();
  void Handle(Event& event, Instant now);
  void CarryOut();
  void Send(uint32_t worker, std::vector<RouterToWorker> messages);
  void Publish();

  const std::function<void(const RouterStats&)> on_stats_;
  BoundedQueue<Event> inbox_;
  std::atomic<bool> ready_{false};
  std::atomic<uint32_t> max_model_len_{0};

  // The core thread's own.
  RouterCore core_;
  SessionClient* sessions_ = nullptr;
  absl::flat_hash_map<RequestId, std::shared_ptr<StreamListener>> listeners_;
  // Requests that a session would not send; told to the core as the worker's own refusal.
  std::vector<std::pair<WorkerIndex, Refused>> refused_;

  std::optional<WorkerThread> thread_;
};

}  // namespace tandem
