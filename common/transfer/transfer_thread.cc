#include "common/transfer/transfer_thread.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"

namespace tandem {
namespace {

// An idle transport is polled this long before the thread sleeps: about the cost of being woken.
constexpr Duration kSpin = std::chrono::microseconds(20);
// Commands handled between two polls, so that a burst of pushes does not starve arrivals.
constexpr int kCommandsPerTurn = 64;

void Drain(int event_fd) {
  uint64_t count = 0;
  if (read(event_fd, &count, sizeof(count)) < 0) TANDEM_CHECK(errno == EAGAIN);
}

}  // namespace

TransferThread::TransferThread(std::unique_ptr<KvTransport> transport, KvMemory memory,
                               TransferThreadOptions options, EventCallback on_events)
    : transport_(std::move(transport)),
      address_(transport_->LocalAddress()),
      options_(std::move(options)),
      on_events_(std::move(on_events)),
      engine_(transport_.get(), std::move(memory), options_.engine),
      commands_(options_.command_capacity),
      wake_fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  TANDEM_CHECK(wake_fd_ >= 0);
  options_.engine.log(absl::StrCat("transfer: ", transport_->Describe()));
  thread_ = std::make_unique<WorkerThread>(options_.name, [this] { Run(); });
}

TransferThread::~TransferThread() {
  Shutdown();
  close(wake_fd_);
}

bool TransferThread::TrySubmit(TransferCommand command) {
  if (!commands_.TryPush(std::move(command))) return false;
  Wake();
  return true;
}

void TransferThread::SubmitReserved(TransferCommand command) {
  commands_.PushReserved(std::move(command));
  Wake();
}

bool TransferThread::Shutdown() {
  commands_.Close();
  stopping_.store(true);
  Wake();
  thread_->Join();
  return clean_.load();
}

TransferCounters TransferThread::counters() const {
  MutexLock lock(&mutex_);
  return counters_;
}

void TransferThread::Wake() {
  // The transfer thread sets asleep_ before it looks at the queue a last time, so one of the two
  // sees the other.
  if (!asleep_.exchange(false)) return;
  const uint64_t one = 1;
  TANDEM_CHECK(write(wake_fd_, &one, sizeof(one)) == sizeof(one));
}

void TransferThread::Run() {
  Instant idle_since = kNever;
  while (!stopping_.load()) {
    const bool handled = HandleCommands();
    const Instant now = SystemClock().Now();
    const bool moved = engine_.Poll(now);
    Deliver();
    if (handled || moved) {
      idle_since = kNever;
    } else if (idle_since == kNever) {
      idle_since = now;
    } else if (now - idle_since >= kSpin) {
      Sleep();
    }
  }
  Finish();
}

bool TransferThread::HandleCommands() {
  int handled = 0;
  while (handled < kCommandsPerTurn) {
    std::optional<TransferCommand> command = commands_.TryPop();
    if (!command.has_value()) break;
    engine_.Handle(*std::move(command), SystemClock().Now());
    ++handled;
  }
  return handled > 0;
}

void TransferThread::Sleep() {
  asleep_.store(true);
  if (commands_.size() > 0 || stopping_.load() || !transport_->Arm()) {
    asleep_.store(false);
    return;
  }
  WaitForEvents(engine_.NextDeadline());
  asleep_.store(false);
}

void TransferThread::WaitForEvents(Instant deadline) {
  timespec timeout{};
  if (deadline != kNever) {
    const auto left = std::max<int64_t>(0, (deadline - SystemClock().Now()).count());
    timeout.tv_sec = left / 1'000'000'000;
    timeout.tv_nsec = left % 1'000'000'000;
  }
  pollfd fds[] = {{wake_fd_, POLLIN, 0}, {transport_->EventFd(), POLLIN, 0}};
  const int ready = ppoll(fds, 2, deadline == kNever ? nullptr : &timeout, nullptr);
  TANDEM_CHECK(ready >= 0 || errno == EINTR);
  if (ready > 0 && (fds[0].revents & POLLIN)) Drain(wake_fd_);
}

void TransferThread::Deliver() {
  std::vector<TransferEvent> events = engine_.TakeEvents();
  if (events.empty()) return;
  PublishCounters();
  on_events_(std::move(events));
}

void TransferThread::PublishCounters() {
  MutexLock lock(&mutex_);
  counters_ = engine_.counters();
}

void TransferThread::Finish() {
  while (HandleCommands()) {
  }
  engine_.EndAllPeers("shutting down");
  const Instant deadline = SystemClock().Now() + options_.shutdown_deadline;
  for (Instant now = SystemClock().Now(); engine_.num_in_flight() > 0 && now < deadline;
       now = SystemClock().Now()) {
    engine_.Poll(now);
    Deliver();
  }
  Deliver();
  PublishCounters();
  clean_.store(engine_.num_in_flight() == 0);
  if (!clean_.load()) {
    options_.engine.log(absl::StrCat("transfer: ", engine_.num_in_flight(),
                                     " segments are still in flight at the shutdown deadline"));
  }
}

}  // namespace tandem
