// How LocalTransport copies the segments that it has accepted.
#include <algorithm>
#include <utility>
#include <vector>

#include "common/base/crc32c.h"
#include "common/transfer/local/local_frames.h"
#include "common/transfer/local/local_peer.h"
#include "common/transfer/local/local_transport.h"

namespace tandem {
namespace {

using local_frames::HeadBytes;
using local_frames::SegmentEnd;

// Copied in one Poll, so that commands and messages are looked at in between.
constexpr size_t kCopyBytes = size_t{1} << 20;
// Copied of a connection until its sender hears of it, unless nothing more waits to be copied: a
// part of what a sender keeps in flight, so that it never runs dry meanwhile.
constexpr size_t kTellBytes = size_t{3} << 20;

}  // namespace

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
  const ssize_t got = ReadFromProcess(peer, copy.source + copy.copied, rest.data(), rest.size());
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
  Send(id, conn, local_frames::kSegmentEnd, conn.copied_ends);
  conn.copied_ends.clear();
  conn.copied_untold = 0;
}

}  // namespace tandem
