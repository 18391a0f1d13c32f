// An annotated std::mutex. Debian's absl::Mutex is invisible to ThreadSanitizer, this one is not;
// the annotations are checked by clang's -Wthread-safety in lint.
#pragma once

#include <condition_variable>
#include <mutex>

#include "absl/base/thread_annotations.h"

namespace tandem {

class ABSL_LOCKABLE Mutex {
 public:
  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() { mutex_.lock(); }
  void Unlock() ABSL_UNLOCK_FUNCTION() { mutex_.unlock(); }
  std::mutex& native() { return mutex_; }

 private:
  std::mutex mutex_;
};

class ABSL_SCOPED_LOCKABLE MutexLock {
 public:
  explicit MutexLock(Mutex* mutex) ABSL_EXCLUSIVE_LOCK_FUNCTION(mutex) : mutex_(mutex) {
    mutex_->Lock();
  }
  ~MutexLock() ABSL_UNLOCK_FUNCTION() { mutex_->Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex* mutex_;
};

// A condition variable for Mutex. Wait functions are called with the mutex held and hold it again
// on return.
class CondVar {
 public:
  void NotifyOne() { cv_.notify_one(); }
  void NotifyAll() { cv_.notify_all(); }
  // Waits until `predicate()` or `deadline`; returns the predicate's last value. Instant::max()
  // waits without limit and is for threads whose end is signalled through the predicate.
  template <class TimePoint, class Predicate>
  bool WaitUntil(Mutex* mutex, TimePoint deadline,
                 Predicate predicate) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    std::unique_lock<std::mutex> lock(mutex->native(), std::adopt_lock);
    bool result = true;
    if (deadline == TimePoint::max()) {
      cv_.wait(lock, predicate);
    } else {
      result = cv_.wait_until(lock, deadline, predicate);
    }
    lock.release();
    return result;
  }

 private:
  std::condition_variable cv_;
};

}  // namespace tandem
