#include "common/transfer/local/local_peer.h"

#include <poll.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <random>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace tandem {
namespace {

constexpr char kPrefix[] = "tandem-kv-";

}  // namespace

absl::Status LocalFailure(absl::string_view what) {
  return absl::UnavailableError(absl::StrCat("local transport: ", what, ": ", strerror(errno)));
}

std::string RandomLocalName() {
  std::random_device random;
  std::array<uint32_t, 4> bits{};
  for (uint32_t& word : bits) word = random();
  return absl::StrCat(kPrefix, absl::BytesToHexString(absl::string_view(
                                   reinterpret_cast<const char*>(bits.data()), sizeof(bits))));
}

socklen_t FillLocalAddress(absl::string_view name, sockaddr_un* address) {
  *address = {};
  address->sun_family = AF_UNIX;
  const size_t length = std::min(name.size(), sizeof(address->sun_path) - 1);
  std::memcpy(address->sun_path + 1, name.data(), length);
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + length);
}

absl::StatusOr<pid_t> ReadablePeer(int fd) {
  ucred peer{};
  socklen_t length = sizeof(peer);
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) return LocalFailure("peer");
  if (peer.uid != geteuid() || peer.pid == 0) {
    return absl::UnavailableError("local transport: the peer is not of our user or namespace");
  }
  // Permissions are judged before addresses.
  if (ReadFromProcess(peer.pid, 0, nullptr, sizeof(uint64_t)) >= 0 || errno != EFAULT) {
    return LocalFailure("the peer's memory cannot be read");
  }
  return peer.pid;
}

ssize_t ReadFromProcess(pid_t process, uintptr_t source, void* memory, size_t length) {
  const iovec local{memory, length};
  const iovec remote{reinterpret_cast<void*>(source), length};
  return process_vm_readv(process, &local, 1, &remote, 1, 0);
}

bool HungUp(int fd) {
  pollfd look{.fd = fd, .events = POLLRDHUP, .revents = 0};
  return poll(&look, 1, 0) != 0;
}

}  // namespace tandem
