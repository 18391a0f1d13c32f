// The outgoing half of one session: a bounded queue whose messages leave in frames, one write in
// flight at a time, later messages gathering behind it. Decides what to do next; the owner does it
// (StartWrite, closing) outside any lock, which is safe because a step other than kNothing is given
// to one thread at a time. Thread-safe. Used by server_session.h and client_session.h only.
//
//   state            Add                WriteDone(ok)           End
//   idle             -> writing, kWrite  (never)                 -> closed, kClose
//   writing          gathers             gathered? kWrite        -> ending
//                                        else -> idle
//   ending           refused             -> closed, kClose       nothing
//   closed           refused             (never)                 nothing
#pragma once

#include <algorithm>
#include <deque>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/mutex.h"
#include "common/base/status_macros.h"
#include "common/rpc/convert.h"
#include "common/rpc/session_limits.h"

namespace tandem {

enum class WriterStep {
  kNothing,
  kWrite,  // start writing frame()
  kClose,  // no write is or will be in flight: let the stream go
};

template <class Message, class Frame>
class SessionWriter {
 public:
  // `on_backlog` is told, under the writer's lock, when the session becomes backlogged and when it
  // no longer is.
  explicit SessionWriter(
      const SessionLimits& limits, std::function<void(bool)> on_backlog = [](bool) {})
      : limits_(limits), on_backlog_(std::move(on_backlog)) {}

  struct Added {
    absl::Status status;
    WriterStep step = WriterStep::kNothing;
  };

  // All messages or none. RESOURCE_EXHAUSTED: they do not fit; the owner ends the session.
  Added Add(std::vector<Message> messages) {
    size_t bytes = 0;
    for (const Message& message : messages) bytes += EstimatedBytes(message);
    MutexLock lock(&mutex_);
    if (reason_) return {absl::NotFoundError("the session has ended")};
    if (queue_.size() + messages.size() > limits_.max_queued_messages ||
        queued_bytes_ + bytes > limits_.max_queued_bytes) {
      return {absl::ResourceExhaustedError(
          absl::StrCat("outgoing queue is full: ", queue_.size(), " messages wait"))};
    }
    queued_bytes_ += bytes;
    std::move(messages.begin(), messages.end(), std::back_inserter(queue_));
    const WriterStep step = writing_ ? WriterStep::kNothing : NextFrame();
    if (Reaches(kBacklogShare)) SetBacklogged(true);
    return {absl::OkStatus(), step};
  }

  WriterStep WriteDone() {
    MutexLock lock(&mutex_);
    writing_ = false;
    if (reason_) return WriterStep::kClose;
    const WriterStep step = NextFrame();
    if (!Reaches(kClearedShare)) SetBacklogged(false);
    return step;
  }

  struct Ended {
    bool first = false;  // this call ended it
    WriterStep step = WriterStep::kNothing;
  };

  // Only the first reason counts. Unsent messages are dropped.
  Ended End(absl::Status reason) {
    MutexLock lock(&mutex_);
    if (reason_) return {};
    reason_ = std::move(reason);
    queue_.clear();
    queued_bytes_ = 0;
    SetBacklogged(false);
    return {true, writing_ ? WriterStep::kNothing : WriterStep::kClose};
  }

  bool ended() const {
    MutexLock lock(&mutex_);
    return reason_.has_value();
  }
  bool backlogged() const {
    MutexLock lock(&mutex_);
    return backlogged_;
  }
  // Nothing waits to be written, or ever will.
  bool all_written() const {
    MutexLock lock(&mutex_);
    return reason_.has_value() || (queue_.empty() && !writing_);
  }
  // OK while the session lasts.
  absl::Status reason() const {
    MutexLock lock(&mutex_);
    return reason_.value_or(absl::OkStatus());
  }

  // Constant from a kWrite to the WriteDone that answers it.
  const Frame& frame() const { return frame_; }

 private:
  static constexpr size_t kFullFrameBytes = size_t{1} << 20;
  // Parts of the limits at which a backlog begins and ends; apart, so that it does neither with
  // every frame.
  static constexpr size_t kBacklogShare = 4;
  static constexpr size_t kClearedShare = 8;

  bool Reaches(size_t share) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return queue_.size() * share >= limits_.max_queued_messages ||
           queued_bytes_ >= limits_.max_queued_bytes / share;
  }

  void SetBacklogged(bool backlogged) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (std::exchange(backlogged_, backlogged) != backlogged) on_backlog_(backlogged);
  }

  // Encodes what fits one frame: at least one message, then more up to kFullFrameBytes.
  WriterStep NextFrame() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (queue_.empty()) return WriterStep::kNothing;
    std::vector<Message> messages;
    size_t frame_bytes = 0;
    while (!queue_.empty() && messages.size() < kMaxMessagesPerFrame) {
      const size_t bytes = EstimatedBytes(queue_.front());
      if (!messages.empty() && frame_bytes + bytes > kFullFrameBytes) break;
      frame_bytes += bytes;
      messages.push_back(std::move(queue_.front()));
      queue_.pop_front();
    }
    queued_bytes_ -= frame_bytes;
    frame_.Clear();
    EncodeFrame(messages, &frame_);
    writing_ = true;
    return WriterStep::kWrite;
  }

  const SessionLimits limits_;
  const std::function<void(bool)> on_backlog_;
  mutable Mutex mutex_;
  std::deque<Message> queue_ ABSL_GUARDED_BY(mutex_);
  size_t queued_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool backlogged_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<absl::Status> reason_ ABSL_GUARDED_BY(mutex_);
  Frame frame_;  // owned by the one write in flight
};

}  // namespace tandem
