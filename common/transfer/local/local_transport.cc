#include "common/transfer/local/local_transport.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstddef>
#include <cstring>
#include <random>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/crc32c.h"
#include "common/base/status_macros.h"
#include "common/protocol/peer_wire.h"

namespace tandem {
namespace {

enum FrameKind : uint8_t {
  kGreeting = 1,
  kControl = 2,
  kSegment = 3,
  kSegmentEnd = 4,
  kMemory = 5,
};

// Another number whenever frames change: "TDL2". The first version had none.
constexpr uint64_t kVersion = 0x324c4454;

// Where most of the sender's segments will lie. A kMemory frame is that of the side that accepts.
struct MemoryClaim {
  int64_t fd;  // its file, from its start; -1: none
  uint64_t base;
  uint64_t size;
};
// What a kGreeting frame begins with; the engine's greeting follows.
struct GreetingHead {
  uint64_t version;
  MemoryClaim memory;
};

// What a kSegment frame begins with; the engine's header follows.
struct Announcement {
  uint64_t number;
  uint64_t source;
  uint64_t length;
};
// A kSegmentEnd frame is one or more of these.
struct SegmentEnd {
  uint64_t number;
  uint64_t ok;
};

constexpr size_t kMaxFrameBytes = std::max(kMaxPeerMessageBytes, kMaxSegmentHeaderBytes) + 64;
// What the kernel has not taken of one connection's frames.
constexpr size_t kMaxUnsentBytes = size_t{8} << 20;
// Connections, greeted ones included.
constexpr size_t kMaxConnections = 4096;
// Copied in one Poll, so that commands and messages are looked at in between.
constexpr size_t kCopyBytes = size_t{1} << 20;
// Copied of a connection until its sender hears of it, unless nothing more waits to be copied: a
// part of what a sender keeps in flight, so that it never runs dry meanwhile.
constexpr size_t kTellBytes = size_t{3} << 20;
// Taken in by one Poll; a connection that never greets is worth nothing more than its place.
constexpr int kAcceptsPerPoll = 16;
constexpr char kPrefix[] = "tandem-kv-";

// The listener's epoll tag; connections are numbered from 1.
constexpr uint64_t kListener = 0;

absl::Status Failed(absl::string_view what) {
  return absl::UnavailableError(absl::StrCat("local transport: ", what, ": ", strerror(errno)));
}

// In Linux's abstract name space: it is no file, and it is gone with its listener.
socklen_t FillAddress(absl::string_view name, sockaddr_un* address) {
  *address = {};
  address->sun_family = AF_UNIX;
  const size_t length = std::min(name.size(), sizeof(address->sun_path) - 1);
  std::memcpy(address->sun_path + 1, name.data(), length);
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + length);
}

std::string RandomName() {
  std::random_device random;
  std::array<uint32_t, 4> bits{};
  for (uint32_t& word : bits) word = random();
  return absl::StrCat(kPrefix, absl::BytesToHexString(absl::string_view(
                                   reinterpret_cast<const char*>(bits.data()), sizeof(bits))));
}

ssize_t ReadFrom(pid_t process, uintptr_t source, void* memory, size_t length) {
  const iovec local{memory, length};
  const iovec remote{reinterpret_cast<void*>(source), length};
  return process_vm_readv(process, &local, 1, &remote, 1, 0);
}

// Whether the kernel lets us read memory of the process at the other end: permissions are judged
// before addresses.
absl::StatusOr<pid_t> ReadablePeer(int fd) {
  ucred peer{};
  socklen_t length = sizeof(peer);
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) return Failed("peer");
  if (peer.uid != geteuid() || peer.pid == 0) {
    return absl::UnavailableError("local transport: the peer is not of our user or namespace");
  }
  if (ReadFrom(peer.pid, 0, nullptr, sizeof(uint64_t)) >= 0 || errno != EFAULT) {
    return Failed("the peer's memory cannot be read");
  }
  return peer.pid;
}

MemoryClaim ClaimOf(const SharedRegion& region) {
  return {region.fd, reinterpret_cast<uintptr_t>(region.memory.data()), region.memory.size()};
}

std::unique_ptr<PeerMemory> MapClaimed(pid_t peer, const MemoryClaim& claim) {
  if (claim.fd < 0 || claim.fd > INT_MAX || claim.size == 0) return nullptr;
  return PeerMemory::Map(peer, static_cast<int>(claim.fd), claim.base, claim.size);
}

// Whether the peer has closed: it does so before it takes its memory back, so what was read before
// a look that finds it open was what it announced.
bool HungUp(int fd) {
  pollfd look{.fd = fd, .events = POLLRDHUP, .revents = 0};
  return poll(&look, 1, 0) != 0;
}

template <class Head>
bool ReadHead(absl::string_view bytes, Head* head) {
  if (bytes.size() < sizeof(Head)) return false;
  std::memcpy(head, bytes.data(), sizeof(Head));
  return true;
}

template <class Head>
std::string HeadBytes(const Head& head) {
  return std::string(reinterpret_cast<const char*>(&head), sizeof(head));
}

}  // namespace

absl::StatusOr<std::unique_ptr<LocalTransport>> LocalTransport::Create() {
  const int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_fd < 0) return Failed("epoll");
  const int listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  std::string name = RandomName();
  std::unique_ptr<LocalTransport> transport(new LocalTransport(epoll_fd, listen_fd, name));
  sockaddr_un address{};
  const socklen_t length = FillAddress(name, &address);
  if (listen_fd < 0 || bind(listen_fd, reinterpret_cast<sockaddr*>(&address), length) != 0 ||
      listen(listen_fd, SOMAXCONN) != 0) {
    return Failed("listening");
  }
  transport->Listen(true);
  if (!transport->listens_) return Failed("epoll");
  return transport;
}

LocalTransport::LocalTransport(int epoll_fd, int listen_fd, std::string name)
    : epoll_fd_(epoll_fd), listen_fd_(listen_fd), name_(std::move(name)) {}

LocalTransport::~LocalTransport() {
  conns_.clear();
  if (listen_fd_ >= 0) close(listen_fd_);
  close(epoll_fd_);
}

LocalTransport::Conn::Conn(int fd, pid_t peer_id) : socket(fd, kMaxFrameBytes), peer(peer_id) {}

// ---- connections ----

absl::StatusOr<ConnId> LocalTransport::Connect(absl::string_view peer_address,
                                               absl::string_view greeting) {
  if (peer_address == name_) return absl::InvalidArgumentError("our own address");
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return Failed("socket");
  sockaddr_un address{};
  const socklen_t length = FillAddress(peer_address, &address);
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), length) != 0) {
    const absl::Status status = Failed("connecting");
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
  const GreetingHead head{kVersion, ClaimOf(shared_)};
  Send(*id, conn, kGreeting, absl::StrCat(HeadBytes(head), greeting));
  return id;
}

absl::Status LocalTransport::Accept(ConnId id, absl::string_view) {
  Conn* conn = Find(id);
  if (conn == nullptr) return absl::UnavailableError("the peer is gone");
  Send(id, *conn, kMemory, HeadBytes(ClaimOf(shared_)));
  return absl::OkStatus();
}

std::string LocalTransport::DescribeLanes(ConnId id) const {
  const auto it = conns_.find(id);
  const bool mapped = it != conns_.end() && it->second->memory != nullptr;
  return mapped ? "local/mapped" : "local/process_vm_readv";
}

void LocalTransport::AcceptNew() {
  for (int i = 0; i < kAcceptsPerPoll; ++i) {
    const int fd = accept4(listen_fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      // Out of descriptors: those who knock would keep Poll busy for nothing. Heard again when a
      // connection has closed.
      if (errno == EMFILE || errno == ENFILE) Listen(false);
      return;
    }
    const absl::StatusOr<pid_t> peer = ReadablePeer(fd);
    if (!peer.ok() || conns_.size() >= kMaxConnections || !Add(fd, *peer).ok()) close(fd);
  }
}

void LocalTransport::Listen(bool on) {
  if (on == listens_) return;
  epoll_event event{.events = EPOLLIN, .data = {.u64 = kListener}};
  listens_ =
      epoll_ctl(epoll_fd_, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, listen_fd_, &event) == 0 && on;
}

absl::StatusOr<ConnId> LocalTransport::Add(int fd, pid_t peer) {
  const ConnId id(++last_conn_);
  epoll_event event{.events = EPOLLIN, .data = {.u64 = id.value()}};
  if (epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) != 0) return Failed("epoll");
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
  const Conn& conn = *node.mapped();
  for (const auto& [number, token] : conn.sends) ended_.push_back({id, token, false});
  for (const Copy& copy : conn.copies) ended_.push_back({id, copy.placement.token, true});
  num_copies_ -= conn.copies.size();
  Listen(true);
}

void LocalTransport::Down(ConnId id, absl::string_view reason, TransportSink* sink) {
  const Conn* conn = Find(id);
  if (conn == nullptr) return;
  const bool known = conn->greeted;
  Close(id);
  if (known) sink->OnConnectionDown(id, reason);
}

// ---- sending ----

void LocalTransport::Send(ConnId id, Conn& conn, uint8_t kind, absl::string_view bytes) {
  conn.socket.Send(kind, bytes);
  Flush(id, conn);
}

// A stream that breaks here is seen as its end by the next Poll.
void LocalTransport::Flush(ConnId id, Conn& conn) {
  (void)conn.socket.Flush();
  const bool wants = conn.socket.unsent_bytes() > 0;
  if (wants == conn.watches_write) return;
  epoll_event event{.events = EPOLLIN | (wants ? uint32_t{EPOLLOUT} : 0u),
                    .data = {.u64 = id.value()}};
  TANDEM_CHECK(epoll_ctl(epoll_fd_, EPOLL_CTL_MOD, conn.socket.fd(), &event) == 0);
  conn.watches_write = wants;
}

absl::Status LocalTransport::SendControl(ConnId id, absl::string_view bytes) {
  Conn* conn = Find(id);
  if (conn == nullptr) return absl::UnavailableError("the connection is gone");
  if (conn->socket.unsent_bytes() >= kMaxUnsentBytes) {
    return absl::ResourceExhaustedError("too many messages wait for the peer");
  }
  Send(id, *conn, kControl, bytes);
  return absl::OkStatus();
}

absl::Status LocalTransport::SendSegment(ConnId id, absl::string_view header,
                                         absl::Span<const std::byte> payload, SegmentToken token) {
  Conn* conn = Find(id);
  if (conn == nullptr) return absl::UnavailableError("the connection is gone");
  if (conn->socket.unsent_bytes() >= kMaxUnsentBytes) {
    return absl::ResourceExhaustedError("too many segments wait for the peer");
  }
  const uint64_t number = ++conn->last_number;
  conn->sends[number] = token;
  const Announcement announcement{number, reinterpret_cast<uintptr_t>(payload.data()),
                                  payload.size()};
  Send(id, *conn, kSegment, absl::StrCat(HeadBytes(announcement), header));
  return absl::OkStatus();
}

// ---- arriving ----

bool LocalTransport::Poll(TransportSink* sink) {
  bool moved = !ended_.empty() || num_copies_ > 0;
  for (const Ended& end : std::exchange(ended_, {})) {
    if (end.received) {
      sink->OnSegmentReceived(end.conn, end.token, false, {});
    } else {
      sink->OnSegmentSent(end.conn, end.token, false);
    }
  }
  std::array<epoll_event, 64> events;
  const int count = epoll_wait(epoll_fd_, events.data(), events.size(), 0);
  for (int i = 0; i < count; ++i) {
    moved = true;
    if (events[i].data.u64 == kListener) {
      AcceptNew();
      continue;
    }
    const ConnId id(events[i].data.u64);
    Conn* conn = Find(id);
    if (conn != nullptr && (events[i].events & EPOLLOUT) != 0) Flush(id, *conn);
    if ((events[i].events & ~uint32_t{EPOLLOUT}) != 0) Receive(id, sink);
  }
  CopySome(sink);
  return moved;
}

void LocalTransport::Receive(ConnId id, TransportSink* sink) {
  Conn* conn = Find(id);
  if (conn == nullptr) return;
  std::vector<Frame> frames;
  const absl::Status status = conn->socket.Receive(&frames);
  for (const Frame& frame : frames) {
    if (Find(id) == nullptr) return;  // closed by what the frame before it led to
    if (!Handle(id, frame, sink)) return Down(id, "it broke the framing or does not read", sink);
  }
  if (!status.ok()) Down(id, status.message(), sink);
}

bool LocalTransport::Handle(ConnId id, const Frame& frame, TransportSink* sink) {
  Conn& conn = *Find(id);
  if ((frame.kind == kGreeting) == conn.greeted) return false;
  // It sends and does not read what it is answered.
  if (conn.socket.unsent_bytes() >= kMaxUnsentBytes) return false;
  switch (frame.kind) {
    case kGreeting:
      return HandleGreeting(id, frame, sink);
    case kControl:
      sink->OnControl(id, frame.bytes);
      return true;
    case kSegment:
      return HandleSegment(id, frame, sink);
    case kSegmentEnd:
      return HandleSegmentEnd(id, frame, sink);
    case kMemory:
      return HandleMemory(id, frame);
    default:
      return false;
  }
}

bool LocalTransport::HandleGreeting(ConnId id, const Frame& frame, TransportSink* sink) {
  GreetingHead head{};
  if (!ReadHead(frame.bytes, &head) || head.version != kVersion) return false;
  Conn& conn = *Find(id);
  conn.greeted = conn.claimed_memory = true;
  conn.memory = MapClaimed(conn.peer, head.memory);
  sink->OnGreeting(id, absl::string_view(frame.bytes).substr(sizeof(head)));
  return true;
}

bool LocalTransport::HandleMemory(ConnId id, const Frame& frame) {
  Conn& conn = *Find(id);
  MemoryClaim claim{};
  if (!ReadHead(frame.bytes, &claim) || std::exchange(conn.claimed_memory, true)) return false;
  conn.memory = MapClaimed(conn.peer, claim);
  return true;
}

bool LocalTransport::HandleSegment(ConnId id, const Frame& frame, TransportSink* sink) {
  Announcement announcement{};
  if (!ReadHead(frame.bytes, &announcement)) return false;
  const absl::string_view header = absl::string_view(frame.bytes).substr(sizeof(announcement));
  const std::optional<Placement> placement =
      sink->OnSegmentArriving(id, header, announcement.length);
  Conn& conn = *Find(id);
  if (!placement.has_value()) {
    Send(id, conn, kSegmentEnd, HeadBytes(SegmentEnd{announcement.number, 0}));
    return true;
  }
  Copy copy{.number = announcement.number, .placement = *placement, .source = announcement.source};
  if (conn.memory != nullptr) copy.mapped = conn.memory->At(copy.source, announcement.length);
  conn.copies.push_back(std::move(copy));
  ++num_copies_;
  return true;
}

bool LocalTransport::HandleSegmentEnd(ConnId id, const Frame& frame, TransportSink* sink) {
  absl::string_view rest = frame.bytes;
  do {
    SegmentEnd end{};
    if (!ReadHead(rest, &end)) return false;
    rest.remove_prefix(sizeof(end));
    Conn* conn = Find(id);
    if (conn == nullptr) return true;  // closed by what the end before it led to
    const auto node = conn->sends.extract(end.number);
    if (node.empty()) return false;
    sink->OnSegmentSent(id, node.mapped(), end.ok != 0);
  } while (!rest.empty());
  return true;
}

// Connections take turns: the next Poll begins behind the one where this one's room ended.
void LocalTransport::CopySome(TransportSink* sink) {
  std::vector<ConnId> copying;
  for (const auto& [id, conn] : conns_) {
    if (!conn->copies.empty()) copying.push_back(id);
  }
  const auto next = std::upper_bound(copying.begin(), copying.end(), last_copied_);
  std::rotate(copying.begin(), next, copying.end());
  size_t room = kCopyBytes;
  for (const ConnId id : copying) {
    if (room == 0) return;
    last_copied_ = id;
    CopyFrom(id, &room, sink);
  }
}

void LocalTransport::CopyFrom(ConnId id, size_t* room, TransportSink* sink) {
  for (Conn* conn = Find(id); conn != nullptr && !conn->copies.empty() && *room > 0;
       conn = Find(id)) {
    Copy& copy = conn->copies.front();
    const size_t got =
        copy.mapped.empty() ? CopyByKernel(conn->peer, copy, *room) : CopyPieces(copy, *room);
    *room -= std::min(*room, got);
    if (got == 0 || copy.copied == copy.placement.memory.size()) {
      EndCopy(id, *conn, got > 0 && !HungUp(conn->socket.fd()), sink);
    }
  }
}

// Whole pieces, at least one. Returns their bytes.
size_t LocalTransport::CopyPieces(Copy& copy, size_t room) {
  const absl::Span<std::byte> memory = copy.placement.memory;
  const size_t piece = copy.placement.piece_bytes > 0 ? copy.placement.piece_bytes : memory.size();
  const size_t before = copy.copied;
  do {
    const absl::Span<const std::byte> from = copy.mapped.subspan(copy.copied, piece);
    copy.piece_crc32c.push_back(CopyWithCrc32c(from, memory.subspan(copy.copied, piece)));
    copy.copied += from.size();
  } while (copy.copied < memory.size() && copy.copied - before < room);
  return copy.copied - before;
}

// 0: it cannot be read.
size_t LocalTransport::CopyByKernel(pid_t peer, Copy& copy, size_t room) {
  const absl::Span<std::byte> rest = copy.placement.memory.subspan(copy.copied, room);
  const ssize_t got = ReadFrom(peer, copy.source + copy.copied, rest.data(), rest.size());
  if (got <= 0) return 0;
  copy.copied += got;
  return got;
}

void LocalTransport::EndCopy(ConnId id, Conn& conn, bool ok, TransportSink* sink) {
  const Copy copy = std::move(conn.copies.front());
  conn.copies.pop_front();
  --num_copies_;
  conn.copied_ends += HeadBytes(SegmentEnd{copy.number, ok ? 1u : 0u});
  conn.copied_untold += copy.placement.memory.size();
  if (conn.copies.empty() || conn.copied_untold >= kTellBytes) TellEnds(id, conn);
  sink->OnSegmentReceived(id, copy.placement.token, ok, copy.piece_crc32c);
}

void LocalTransport::TellEnds(ConnId id, Conn& conn) {
  Send(id, conn, kSegmentEnd, conn.copied_ends);
  conn.copied_ends.clear();
  conn.copied_untold = 0;
}

}  // namespace tandem
