// A transfer_peer program running beside the test; killed and reaped when this object goes.
#pragma once

#include <sys/types.h>

#include <string>

namespace tandem {

inline constexpr uint64_t kTestIncarnation = 202;
inline constexpr uint64_t kPeerIncarnation = 101;

class PeerProcess {
 public:
  // `program` is the path of transfer_peer, `mode` "push", "land", "vanish" or "leave".
  PeerProcess(const std::string& program, const std::string& mode, size_t block_bytes,
              uint32_t blocks_per_segment, const std::string& address);
  ~PeerProcess();
  PeerProcess(const PeerProcess&) = delete;
  PeerProcess& operator=(const PeerProcess&) = delete;

  void Signal(int signal);
  // Until it has exited by itself.
  void AwaitExit();

 private:
  pid_t pid_ = -1;
};

}  // namespace tandem
