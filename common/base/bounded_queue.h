// BoundedQueue hands values from any number of producers to one consumer.
//
// Two bounds keep a full queue from deadlocking a cycle of threads: TryPush refuses new work beyond
// `capacity`, while PushReserved is never refused and is for what is bounded elsewhere: completions
// of work that was itself admitted, and frames whose sessions stop reading when too many of them
// are unhandled. Thread-safe. The consumer may block; producers never do.
#pragma once

#include <cstddef>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "common/base/clock.h"
#include "common/base/mutex.h"

namespace tandem {

template <class T>
class BoundedQueue {
 public:
  explicit BoundedQueue(size_t capacity) : capacity_(capacity) {}

  // Returns false, leaving `value` unmoved, when the queue holds `capacity` values or is closed.
  [[nodiscard]] bool TryPush(T&& value) {
    {
      MutexLock lock(&mutex_);
      if (closed_ || queue_.size() >= capacity_) return false;
      queue_.push_back(std::move(value));
    }
    ready_.NotifyOne();
    return true;
  }

  // Never refused; dropped silently after Close().
  void PushReserved(T value) {
    {
      MutexLock lock(&mutex_);
      if (closed_) return;
      queue_.push_back(std::move(value));
    }
    ready_.NotifyOne();
  }

  // Waits until a value is there, the queue is closed, Wake is called or `deadline` passes; then
  // takes everything that is queued, in order. Empty: one of the others.
  std::vector<T> PopAll(Instant deadline) {
    MutexLock lock(&mutex_);
    ready_.WaitUntil(&mutex_, deadline, [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
      return closed_ || woken_ || !queue_.empty();
    });
    woken_ = false;
    std::vector<T> values(std::make_move_iterator(queue_.begin()),
                          std::make_move_iterator(queue_.end()));
    queue_.clear();
    return values;
  }

  // Ends the PopAll that waits, or else the next one, at once.
  void Wake() {
    {
      MutexLock lock(&mutex_);
      woken_ = true;
    }
    ready_.NotifyOne();
  }

  std::optional<T> TryPop() {
    MutexLock lock(&mutex_);
    if (queue_.empty()) return std::nullopt;
    std::optional<T> value(std::move(queue_.front()));
    queue_.pop_front();
    return value;
  }

  // Ends the queue: later pushes are refused or dropped, the consumer wakes.
  void Close() {
    {
      MutexLock lock(&mutex_);
      closed_ = true;
    }
    ready_.NotifyAll();
  }

  bool closed() const {
    MutexLock lock(&mutex_);
    return closed_;
  }

  size_t size() const {
    MutexLock lock(&mutex_);
    return queue_.size();
  }

 private:
  const size_t capacity_;
  mutable Mutex mutex_;
  CondVar ready_;
  std::deque<T> queue_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace tandem
