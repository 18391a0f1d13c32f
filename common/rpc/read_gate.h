// ReadGate keeps a session from reading further ahead of its sink than a set number of frames: what
// the sink has not handled is left to gRPC's flow control, which stops the peer's writes. So a slow
// consumer slows its producer down, and no queue between them runs over.
//
// Each frame goes to the sink with a ReadCredit, which whoever has handled the frame lets go, on
// any thread, at any time, even after the session. Thread-safe.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <utility>

#include "common/base/check.h"
#include "common/base/mutex.h"

namespace tandem {

class ReadGate;

// The right of a session to have one more frame unhandled. An empty one belongs to no session.
class ReadCredit {
 public:
  ReadCredit() = default;
  explicit ReadCredit(std::shared_ptr<ReadGate> gate) : gate_(std::move(gate)) {}
  ReadCredit(ReadCredit&& other) noexcept = default;
  ReadCredit& operator=(ReadCredit&& other) noexcept {
    std::swap(gate_, other.gate_);
    return *this;
  }
  inline ~ReadCredit();

 private:
  std::shared_ptr<ReadGate> gate_;
};

class ReadGate : public std::enable_shared_from_this<ReadGate> {
 public:
  // `start_read` is called with the gate locked: by ReadOn, or by a thread that lets a credit go.
  ReadGate(size_t credits, std::function<void()> start_read)
      : start_read_(std::move(start_read)), credits_(credits) {
    TANDEM_CHECK(credits > 0);
  }

  // For the frame that was just read; an empty one once the gate is closed.
  ReadCredit TakeCredit() {
    MutexLock lock(&mutex_);
    if (closed_) return ReadCredit();
    TANDEM_CHECK(credits_ > 0);
    --credits_;
    return ReadCredit(shared_from_this());
  }

  // Starts the next read, now or when a credit is back. REQUIRES: none is under way or waits.
  // False: the gate is closed.
  bool ReadOn() {
    MutexLock lock(&mutex_);
    if (closed_) return false;
    if (credits_ == 0) {
      waits_ = true;
    } else {
      start_read_();
    }
    return true;
  }

  // No read waits or is started any more, once this has returned. True: one waited.
  bool Close() {
    MutexLock lock(&mutex_);
    closed_ = true;
    return std::exchange(waits_, false);
  }

  // The sink, not the peer, is why nothing is read.
  bool waits() const {
    MutexLock lock(&mutex_);
    return waits_;
  }

 private:
  friend class ReadCredit;
  void Return() {
    MutexLock lock(&mutex_);
    ++credits_;
    if (std::exchange(waits_, false)) start_read_();
  }

  const std::function<void()> start_read_;
  mutable Mutex mutex_;
  size_t credits_ ABSL_GUARDED_BY(mutex_);
  bool waits_ ABSL_GUARDED_BY(mutex_) = false;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

inline ReadCredit::~ReadCredit() {
  if (gate_ != nullptr) gate_->Return();
}

}  // namespace tandem
