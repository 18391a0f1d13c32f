// Sinks that remember what a session told them, for tests: wait for it with a deadline instead of
// sleeping.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "common/base/mutex.h"
#include "common/rpc/session_client.h"
#include "common/rpc/session_server.h"

namespace tandem {

inline constexpr Duration kTestPatience = std::chrono::seconds(20);

// Thread-safe. `Await` looks at the log under the lock until the condition holds.
template <class Message>
class SessionLog {
 public:
  void Opened(uint64_t id) {
    Change([&] { opened_.push_back(id); });
  }
  bool Received(std::vector<Message> messages) {
    Change([&] {
      ++batches_;
      for (auto& message : messages) received_.push_back(std::move(message));
    });
    return accept_;
  }
  void Closed(const absl::Status& reason) {
    Change([&] { closed_.push_back(reason); });
  }

  bool AwaitOpened(size_t count) {
    return Await([&] { return opened_.size() >= count; });
  }
  bool AwaitReceived(size_t count) {
    return Await([&] { return received_.size() >= count; });
  }
  bool AwaitClosed(size_t count) {
    return Await([&] { return closed_.size() >= count; });
  }

  std::vector<uint64_t> opened() { return Copy(opened_); }
  std::vector<Message> received() { return Copy(received_); }
  std::vector<absl::Status> closed() { return Copy(closed_); }
  size_t batches() { return Copy(batches_); }
  void RefuseMessages() {
    Change([&] { accept_ = false; });
  }

 private:
  void Change(const std::function<void()>& change) {
    MutexLock lock(&mutex_);
    change();
    changed_.NotifyAll();
  }
  bool Await(const std::function<bool()>& condition) {
    MutexLock lock(&mutex_);
    return changed_.WaitUntil(&mutex_, SystemClock().Now() + kTestPatience, condition);
  }
  template <class T>
  T Copy(const T& value) {
    MutexLock lock(&mutex_);
    return value;
  }

  Mutex mutex_;
  CondVar changed_;
  std::vector<uint64_t> opened_;
  std::vector<Message> received_;
  std::vector<absl::Status> closed_;
  size_t batches_ = 0;
  bool accept_ = true;
};

class RecordingServerSink : public SessionSink {
 public:
  SessionLog<RouterToWorker> log;
  void OnOpened(SessionId session, const RouterHello&) override { log.Opened(session.value()); }
  bool OnMessages(SessionId, std::vector<RouterToWorker> messages) override {
    return log.Received(std::move(messages));
  }
  void OnClosed(SessionId, const absl::Status& reason) override { log.Closed(reason); }
};

// Opened: the incarnation of the worker that came up.
class RecordingClientSink : public SessionClientSink {
 public:
  SessionLog<WorkerToRouter> log;
  void OnUp(size_t, const WorkerHello& hello) override {
    log.Opened(hello.handshake.incarnation.value());
  }
  bool OnMessages(size_t, std::vector<WorkerToRouter> messages) override {
    return log.Received(std::move(messages));
  }
  void OnDown(size_t, const absl::Status& reason) override { log.Closed(reason); }
};

}  // namespace tandem
