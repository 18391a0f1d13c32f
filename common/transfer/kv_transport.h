// KvTransport moves control messages and segments of memory between two processes. It is the seam
// under the transfer engine: ucx/ reaches other hosts, local/ other processes of this one,
// loopback/ joins engines inside one process, fault/ breaks another one on purpose.
//
// Owned and called by the transfer thread alone; nothing blocks. All that happens is told from
// inside Poll(). A transport knows no grant, block or checksum: headers are opaque to it. No peer
// names memory of ours: the receiver says where a segment goes when it arrives. Messages of one
// connection may overtake each other.
//
// A connection: one side calls Connect with a greeting; the other hears OnGreeting and answers
// Accept or Close. Invariant: each SendSegment that returned OK ends in exactly one OnSegmentSent,
// each accepted segment in exactly one OnSegmentReceived, also after Close() or OnConnectionDown;
// until then the memory is in use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/base/ids.h"
#include "common/base/shareable_memory.h"

namespace tandem {

// One connection of this transport, never used twice.
using ConnId = StrongId<struct ConnIdTag, uint64_t>;
// The caller's name for one segment in flight.
using SegmentToken = StrongId<struct SegmentTokenTag, uint64_t>;

// Where an arriving segment goes.
struct Placement {
  absl::Span<std::byte> memory;  // exactly as long as the segment
  SegmentToken token;
  size_t piece_bytes = 0;  // of which it consists; see OnSegmentReceived
};

// Hears what happened, only from inside KvTransport::Poll. Methods may call the transport, except
// OnSegmentArriving.
class TransportSink {
 public:
  virtual ~TransportSink() = default;

  // A peer has connected; its first message. Answer Accept or Close, now or later.
  virtual void OnGreeting(ConnId conn, absl::string_view bytes) = 0;
  virtual void OnControl(ConnId conn, absl::string_view bytes) = 0;
  // A segment of `length` bytes is here. No value refuses it: its bytes are dropped, the sender
  // hears "not ok". Must not call the transport.
  virtual std::optional<Placement> OnSegmentArriving(ConnId conn, absl::string_view header,
                                                     size_t length) = 0;
  // The placed memory is no longer written. `ok` false: its content is undefined. After Close or
  // OnConnectionDown, here and below, the token alone says which segment it was. `piece_crc32c`: of
  // what was written, piece by piece, from a transport that had each byte in a register; else
  // empty.
  virtual void OnSegmentReceived(ConnId conn, SegmentToken token, bool ok,
                                 absl::Span<const uint32_t> piece_crc32c) = 0;
  // The sent memory is no longer read; or, not `ok`, what is still read is thrown away.
  virtual void OnSegmentSent(ConnId conn, SegmentToken token, bool ok) = 0;
  // The connection ended by itself or at the peer. Told once; not told after Close().
  virtual void OnConnectionDown(ConnId conn, absl::string_view reason) = 0;
};

class KvTransport {
 public:
  virtual ~KvTransport() = default;

  // Segments will mostly lie in `region`, which outlives the transport: one that reaches processes
  // of this host may let them map it. REQUIRES: no connection yet.
  virtual void ShareMemory(const SharedRegion& region) { (void)region; }

  // What a peer passes to Connect to reach this transport. Opaque bytes.
  virtual std::string LocalAddress() const = 0;

  // Starts a connection and sends `greeting` on it. Until the peer's first message is heard,
  // nothing else may be sent.
  virtual absl::StatusOr<ConnId> Connect(absl::string_view peer_address,
                                         absl::string_view greeting) = 0;
  // Makes a greeted connection usable for sending. `reply_address` is the peer's LocalAddress().
  virtual absl::Status Accept(ConnId conn, absl::string_view reply_address) = 0;

  // RESOURCE_EXHAUSTED: too many messages wait for the peer. UNAVAILABLE: the connection is gone.
  virtual absl::Status SendControl(ConnId conn, absl::string_view bytes) = 0;
  // `payload` stays valid and unchanged until OnSegmentSent; `header` is copied.
  virtual absl::Status SendSegment(ConnId conn, absl::string_view header,
                                   absl::Span<const std::byte> payload, SegmentToken token) = 0;

  // Ends the connection at once, tells the peer if it can. Segments in flight end through the sink,
  // in later Polls.
  virtual void Close(ConnId conn) = 0;

  // Moves what can be moved. True: something happened, so poll again soon.
  virtual bool Poll(TransportSink* sink) = 0;

  // A descriptor that becomes readable when Poll has work, once Arm() returned true. False: there
  // is work already.
  virtual int EventFd() const = 0;
  virtual bool Arm() = 0;

  // Name and version, for the log.
  virtual std::string Describe() const = 0;
  // The lanes that carry this connection, in the transport's own words: "tcp/eth0".
  // For the log.
  virtual std::string DescribeLanes(ConnId conn) const = 0;
};

}  // namespace tandem
