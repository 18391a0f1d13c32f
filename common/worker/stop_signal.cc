#include "common/worker/stop_signal.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cstdint>
#include <utility>

#include "common/base/check.h"

namespace tandem {
namespace {

sigset_t StopSignals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  return set;
}

}  // namespace

void StopSignal::Block() {
  const sigset_t set = StopSignals();
  TANDEM_CHECK(pthread_sigmask(SIG_BLOCK, &set, nullptr) == 0);
}

StopSignal::StopSignal(std::function<void()> on_signal)
    : signal_fd_([] {
        const sigset_t set = StopSignals();
        return signalfd(-1, &set, SFD_CLOEXEC);
      }()),
      end_fd_(eventfd(0, EFD_CLOEXEC)),
      thread_("tandem-signal", [this, on_signal = std::move(on_signal)] {
        while (true) {
          pollfd fds[2] = {{signal_fd_, POLLIN, 0}, {end_fd_, POLLIN, 0}};
          if (poll(fds, 2, -1) < 0) continue;
          if (fds[1].revents != 0) return;
          signalfd_siginfo info;
          if (read(signal_fd_, &info, sizeof info) == sizeof info) on_signal();
        }
      }) {
  TANDEM_CHECK(signal_fd_ >= 0 && end_fd_ >= 0);
}

StopSignal::~StopSignal() {
  const uint64_t one = 1;
  TANDEM_CHECK(write(end_fd_, &one, sizeof one) == sizeof one);
  thread_.Join();
  close(signal_fd_);
  close(end_fd_);
}

}  // namespace tandem
