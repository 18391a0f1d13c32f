// Sinks that remember what a session told them, for tests: wait for it with a deadline instead of
// sleeping.
#pragma once

#include <atomic>
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
  void Received(std::vector<Message> messages, ReadCredit credit) {
    Change([&] {
      ++batches_;
      for (auto& message : messages) received_.push_back(std::move(message));
      if (hold_) held_.push_back(std::move(credit));
    });
  }
  void Closed(const absl::Status& reason) {
    Change([&] { closed_.push_back(reason); });
  }

  bool AwaitOpened(size_t count) {
    return Await([&] { return opened_.size() >= count; });
  }
  bool AwaitReceived(size_t count, Duration patience = kTestPatience) {
    return Await([&] { return received_.size() >= count; }, patience);
  }
  bool AwaitClosed(size_t count, Duration patience = kTestPatience) {
    return Await([&] { return closed_.size() >= count; }, patience);
  }

  std::vector<uint64_t> opened() { return Copy(opened_); }
  std::vector<Message> received() { return Copy(received_); }
  std::vector<absl::Status> closed() { return Copy(closed_); }
  size_t batches() { return Copy(batches_); }
  // From now on frames count as unhandled, until LetGo.
  void Hold() {
    Change([&] { hold_ = true; });
  }
  // The frame that has been held for longest.
  void LetOneGo() {
    ReadCredit held;
    Change([&] {
      if (held_.empty()) return;
      held = std::move(held_.front());
      held_.erase(held_.begin());
    });
  }
  void LetGo() {
    std::vector<ReadCredit> held;
    Change([&] {
      hold_ = false;
      held = std::move(held_);
    });
  }

 private:
  void Change(const std::function<void()>& change) {
    MutexLock lock(&mutex_);
    change();
    changed_.NotifyAll();
  }
  bool Await(const std::function<bool()>& condition, Duration patience = kTestPatience) {
    MutexLock lock(&mutex_);
    return changed_.WaitUntil(&mutex_, SystemClock().Now() + patience, condition);
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
  bool hold_ = false;
  std::vector<ReadCredit> held_;
};

class RecordingServerSink : public SessionSink {
 public:
  SessionLog<RouterToWorker> log;
  void OnOpened(SessionId session, const RouterHello&) override { log.Opened(session.value()); }
  void OnMessages(SessionId, std::vector<RouterToWorker> messages, ReadCredit credit) override {
    log.Received(std::move(messages), std::move(credit));
  }
  void OnBacklogCleared() override { ++backlogs_cleared; }
  std::atomic<int> backlogs_cleared = 0;
  void OnClosed(SessionId, const absl::Status& reason) override { log.Closed(reason); }
};

// Opened: the incarnation of the worker that came up.
class RecordingClientSink : public SessionClientSink {
 public:
  SessionLog<WorkerToRouter> log;
  void OnUp(size_t, const WorkerHello& hello) override {
    log.Opened(hello.handshake.incarnation.value());
  }
  void OnMessages(size_t, std::vector<WorkerToRouter> messages, ReadCredit credit) override {
    log.Received(std::move(messages), std::move(credit));
  }
  void OnDown(size_t, const absl::Status& reason) override { log.Closed(reason); }
};

}  // namespace tandem
