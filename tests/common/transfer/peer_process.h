// A transfer_peer program running beside the test; killed and reaped when this object goes.
#pragma once

#include <sys/types.h>

#include <string>

#include "common/base/clock.h"

namespace tandem {

inline constexpr uint64_t kTestIncarnation = 202;
inline constexpr uint64_t kPeerIncarnation = 101;
inline constexpr int kReadyFd = 3;  // the peer writes one byte there before it connects

class PeerProcess {
 public:
  // `program` is the path of transfer_peer, `mode` "push", "stream", "land", "vanish" or
  // "leave".
  PeerProcess(const std::string& program, const std::string& mode, size_t block_bytes,
              uint32_t blocks_per_segment, const std::string& address);
  ~PeerProcess();
  PeerProcess(const PeerProcess&) = delete;
  PeerProcess& operator=(const PeerProcess&) = delete;

  void Signal(int signal);
  // Processor time that it has used.
  Duration CpuTime() const;
  // Until it is about to connect.
  void AwaitReady();
  // Until it has exited by itself.
  void AwaitExit();

 private:
  pid_t pid_ = -1;
  int ready_fd_ = -1;
};

}  // namespace tandem
