#include "common/transfer/local/local_transport.h"

#include <sys/epoll.h>

#include <array>
#include <climits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/transfer/local/local_frames.h"

namespace tandem {
namespace {

using local_frames::Announcement;
using local_frames::GreetingHead;
using local_frames::HeadBytes;
using local_frames::kControl;
using local_frames::kGreeting;
using local_frames::kMemory;
using local_frames::kSegment;
using local_frames::kSegmentEnd;
using local_frames::kVersion;
using local_frames::MemoryClaim;
using local_frames::ReadHead;
using local_frames::SegmentEnd;

// What the kernel has not taken of one connection's frames.
constexpr size_t kMaxUnsentBytes = size_t{8} << 20;

std::unique_ptr<PeerMemory> MapClaimed(pid_t peer, const MemoryClaim& claim) {
  if (claim.fd < 0 || claim.fd > INT_MAX || claim.size == 0) return nullptr;
  return PeerMemory::Map(peer, static_cast<int>(claim.fd), claim.base, claim.size);
}

}  // namespace

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
    if (events[i].data.u64 == kRetryTimer) {
      ResumeListening();
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
  ungreeted_.erase(id);
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

}  // namespace tandem
