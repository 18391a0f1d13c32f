// How connections of LocalTransport begin and end.
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/transfer/local/local_frames.h"
#include "common/transfer/local/local_peer.h"
#include "common/transfer/local/local_transport.h"

namespace tandem {
namespace {

using local_frames::GreetingHead;
using local_frames::HeadBytes;
using local_frames::MemoryClaim;

// Connections, greeted ones included.
constexpr size_t kMaxConnections = 4096;
// Taken in by one Poll.
constexpr int kAcceptsPerPoll = 16;
// Connections that have not greeted. More than several Polls take in: who sends its greeting when
// it connects, as Connect does, is heard before its turn to give way.
constexpr size_t kMaxUngreeted = 64;
// Far less than a peer waits for an answer to its greeting.
constexpr timespec kRetryAfter = {.tv_sec = 0, .tv_nsec = 100'000'000};

MemoryClaim ClaimOf(const SharedRegion& region) {
  return {region.fd, reinterpret_cast<uintptr_t>(region.memory.data()), region.memory.size()};
}

// Whether somebody waits to be accepted: accept itself says EMFILE without looking.
bool Knocked(int listen_fd) {
  pollfd look{.fd = listen_fd, .events = POLLIN, .revents = 0};
  return poll(&look, 1, 0) > 0;
}

}  // namespace

absl::StatusOr<std::unique_ptr<LocalTransport>> LocalTransport::Create() {
  const int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_fd < 0) return LocalFailure("epoll");
  const int listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const int retry_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  std::unique_ptr<LocalTransport> transport(
      new LocalTransport(epoll_fd, listen_fd, retry_fd, RandomLocalName()));
  RETURN_IF_ERROR(transport->Start());
  return transport;
}

LocalTransport::LocalTransport(int epoll_fd, int listen_fd, int retry_fd, std::string name)
    : epoll_fd_(epoll_fd), listen_fd_(listen_fd), retry_fd_(retry_fd), name_(std::move(name)) {}

absl::Status LocalTransport::Start() {
  if (retry_fd_ < 0 || !Watch(retry_fd_, kRetryTimer)) return LocalFailure("a timer");
  sockaddr_un address{};
  const socklen_t length = FillLocalAddress(name_, &address);
  if (listen_fd_ < 0 || bind(listen_fd_, reinterpret_cast<sockaddr*>(&address), length) != 0 ||
      listen(listen_fd_, SOMAXCONN) != 0 || !Watch(listen_fd_, kListener)) {
    return LocalFailure("listening");
  }
  return absl::OkStatus();
}

LocalTransport::~LocalTransport() {
  conns_.clear();
  if (listen_fd_ >= 0) close(listen_fd_);
  if (retry_fd_ >= 0) close(retry_fd_);
  close(epoll_fd_);
}

LocalTransport::Conn::Conn(int fd, pid_t peer_id)
    : socket(fd, local_frames::kMaxBytes), peer(peer_id) {}

absl::StatusOr<ConnId> LocalTransport::Connect(absl::string_view peer_address,
                                               absl::string_view greeting) {
  if (peer_address == name_) return absl::InvalidArgumentError("our own address");
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return LocalFailure("socket");
  sockaddr_un address{};
  const socklen_t length = FillLocalAddress(peer_address, &address);
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), length) != 0) {
    const absl::Status status = LocalFailure("connecting");
    close(fd);
    return status;
  }
  const absl::StatusOr<pid_t> peer = ReadablePeer(fd);
  if (!peer.ok() || conns_.size() >= kMaxConnections) {
    close(fd);
    return peer.ok() ? absl::ResourceExhaustedError("too many connections") : peer.status();
  }
  const absl::StatusOr<ConnId> id = Add(fd, *peer);
  if (!id.ok()) {
    close(fd);
    return id.status();
  }
  Conn& conn = *conns_.at(*id);
  conn.greeted = true;
  const GreetingHead head{local_frames::kVersion, ClaimOf(shared_)};
  Send(*id, conn, local_frames::kGreeting, absl::StrCat(HeadBytes(head), greeting));
  return id;
}

absl::Status LocalTransport::Accept(ConnId id, absl::string_view) {
  Conn* conn = Find(id);
  if (conn == nullptr) return absl::UnavailableError("the peer is gone");
  Send(id, *conn, local_frames::kMemory, HeadBytes(ClaimOf(shared_)));
  return absl::OkStatus();
}

std::string LocalTransport::DescribeLanes(ConnId id) const {
  const auto it = conns_.find(id);
  const bool mapped = it != conns_.end() && it->second->memory != nullptr;
  return mapped ? "local/mapped" : "local/process_vm_readv";
}

void LocalTransport::AcceptNew() {
  const ConnId last_before(last_conn_);
  for (int i = 0; i < kAcceptsPerPoll; ++i) {
    const int fd = accept4(listen_fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno == ECONNABORTED || errno == EINTR) continue;
      if (errno == EAGAIN || !Knocked(listen_fd_) || !MakeRoom(last_before)) return;
      continue;
    }
    const absl::StatusOr<pid_t> peer = ReadablePeer(fd);
    if (!peer.ok() || conns_.size() >= kMaxConnections || !Add(fd, *peer).ok()) {
      close(fd);
      continue;
    }
    ungreeted_.insert(ConnId(last_conn_));
    if (ungreeted_.size() > kMaxUngreeted) Close(*ungreeted_.begin());
  }
}

// Out of descriptors or of the kernel's memory: the oldest that has not greeted gives way, but none
// newer than `newest`, which nobody has listened to yet. False: none could.
bool LocalTransport::MakeRoom(ConnId newest) {
  if (ungreeted_.empty()) {
    // Those who knock would keep Poll busy for nothing.
    PauseListening();
    return false;
  }
  if (newest < *ungreeted_.begin()) return false;
  Close(*ungreeted_.begin());
  return true;
}

bool LocalTransport::Watch(int fd, uint64_t tag) {
  epoll_event event{.events = EPOLLIN, .data = {.u64 = tag}};
  return epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) == 0;
}

// Descriptors get free without our doing: others of this process use them too. So a timer.
void LocalTransport::PauseListening() {
  (void)epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, listen_fd_, nullptr);
  const itimerspec retry{.it_interval = {}, .it_value = kRetryAfter};
  (void)timerfd_settime(retry_fd_, 0, &retry, nullptr);
}

void LocalTransport::ResumeListening() {
  uint64_t expired;
  (void)!read(retry_fd_, &expired, sizeof(expired));
  if (!Watch(listen_fd_, kListener)) PauseListening();
}

absl::StatusOr<ConnId> LocalTransport::Add(int fd, pid_t peer) {
  const ConnId id(++last_conn_);
  if (!Watch(fd, id.value())) return LocalFailure("epoll");
  conns_.emplace(id, std::make_unique<Conn>(fd, peer));
  return id;
}

LocalTransport::Conn* LocalTransport::Find(ConnId id) {
  const auto it = conns_.find(id);
  return it == conns_.end() ? nullptr : it->second.get();
}

void LocalTransport::Close(ConnId id) {
  const auto node = conns_.extract(id);
  if (node.empty()) return;
  ungreeted_.erase(id);
  const Conn& conn = *node.mapped();
  for (const auto& [number, token] : conn.sends) ended_.push_back({id, token, false});
  for (const Copy& copy : conn.copies) ended_.push_back({id, copy.placement.token, true});
  num_copies_ -= conn.copies.size();
}

void LocalTransport::Down(ConnId id, absl::string_view reason, TransportSink* sink) {
  const Conn* conn = Find(id);
  if (conn == nullptr) return;
  const bool known = conn->greeted;
  Close(id);
  if (known) sink->OnConnectionDown(id, reason);
}

}  // namespace tandem
