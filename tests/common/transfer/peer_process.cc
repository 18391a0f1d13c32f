#include "tests/common/transfer/peer_process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/base/check.h"

extern char** environ;

namespace tandem {

PeerProcess::PeerProcess(const std::string& program, const std::string& mode, size_t block_bytes,
                         uint32_t blocks_per_segment, const std::string& address) {
  int fds[2];
  int ready[2];
  TANDEM_CHECK(pipe2(fds, O_CLOEXEC) == 0 && pipe2(ready, O_CLOEXEC) == 0);
  posix_spawn_file_actions_t actions;
  TANDEM_CHECK(posix_spawn_file_actions_init(&actions) == 0);
  TANDEM_CHECK(posix_spawn_file_actions_adddup2(&actions, fds[0], 0) == 0);
  TANDEM_CHECK(posix_spawn_file_actions_adddup2(&actions, ready[1], kReadyFd) == 0);
  std::string bytes = std::to_string(block_bytes);
  std::string blocks = std::to_string(blocks_per_segment);
  std::string path = program, role = mode;
  char* argv[] = {path.data(), role.data(), bytes.data(), blocks.data(), nullptr};
  TANDEM_CHECK(posix_spawn(&pid_, program.c_str(), &actions, nullptr, argv, environ) == 0);
  posix_spawn_file_actions_destroy(&actions);
  close(fds[0]);
  close(ready[1]);
  ready_fd_ = ready[0];
  TANDEM_CHECK(write(fds[1], address.data(), address.size()) ==
               static_cast<ssize_t>(address.size()));
  close(fds[1]);
}

PeerProcess::~PeerProcess() {
  close(ready_fd_);
  if (pid_ < 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

Duration PeerProcess::CpuTime() const {
  clockid_t clock;
  timespec spent;
  TANDEM_CHECK(clock_getcpuclockid(pid_, &clock) == 0 && clock_gettime(clock, &spent) == 0);
  return std::chrono::seconds(spent.tv_sec) + std::chrono::nanoseconds(spent.tv_nsec);
}

void PeerProcess::AwaitReady() {
  char byte;
  TANDEM_CHECK(read(ready_fd_, &byte, 1) == 1);
}

void PeerProcess::AwaitExit() {
  waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

void PeerProcess::Signal(int signal) { TANDEM_CHECK(kill(pid_, signal) == 0); }

}  // namespace tandem
