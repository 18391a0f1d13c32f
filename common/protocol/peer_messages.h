// The messages between two workers: control messages of the KV push, and the header of a segment.
// Plain structs; the encoding is in peer_wire.h. The roles are symmetric: "sender" offers blocks,
// "receiver" grants room for them.
//
//   sender                         receiver
//   PeerHello  ───────────────────▶            both handshakes are checked on both sides
//              ◀───────────────────  PeerHelloAck
//   Offer      ───────────────────▶            once a job enters a batch
//              ◀───────────────────  Grant | OfferRefused   (a Grant may come late: room)
//   segments   ═══════════════════▶            layer by layer; verified on arrival
//   Commit     ───────────────────▶            held until all its segments are verified
//              ◀───────────────────  CommitAck
//   Abandon    ───────────────────▶            the sender gives up
//              ◀───────────────────  Revoke    the receiver takes the grant back
//
// Messages may overtake each other. No message carries an address or a physical block id.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "common/base/ids.h"
#include "common/protocol/handshake.h"
#include "common/protocol/nonce.h"

namespace tandem {

struct PeerHello {
  Handshake handshake;
  std::string reply_address;  // transfer address of the sender of this message
};

// `error` empty: accepted.
struct PeerHelloAck {
  Handshake handshake;
  std::string error;
};

struct Offer {
  Nonce nonce;
  Incarnation receiver;     // the life the offer is meant for; another one refuses it
  uint32_t num_blocks = 0;  // full leading blocks of the sequence that the sender will have
};

struct Grant {
  Nonce nonce;
  GrantId grant;
  uint32_t first_block = 0;  // first logical block that is missing at the receiver
  std::vector<uint32_t>
      run_lengths;  // receiver's contiguous runs from first_block on; sums to the blocks wanted
};

struct OfferRefused {
  Nonce nonce;
  std::string reason;
};

// One layer of a run of logical blocks, in one piece of memory at either end.
struct SegmentId {
  uint16_t shard = 0;
  uint16_t layer = 0;
  uint32_t first_block = 0;
  uint32_t num_blocks = 0;

  friend auto operator<=>(const SegmentId&, const SegmentId&) = default;
};

// Travels in front of the segment's bytes.
struct SegmentHeader {
  GrantId grant;
  SegmentId segment;
  std::vector<uint32_t> block_crc32c;  // one per block: its place, then K and V of this layer
};

// Ends a chunk: these segments together complete blocks [first_block, first_block + num_blocks).
struct Commit {
  GrantId grant;
  uint32_t first_block = 0;
  uint32_t num_blocks = 0;
  std::vector<SegmentId> segments;
};

// `bad` empty: the blocks landed. Otherwise these segments failed verification or never fitted the
// grant.
struct CommitAck {
  GrantId grant;
  uint32_t first_block = 0;
  uint32_t num_blocks = 0;
  std::vector<SegmentId> bad;
};

struct Abandon {
  Nonce nonce;
  std::string reason;
};

struct Revoke {
  Nonce nonce;
  std::string reason;
};

using PeerMessage = std::variant<PeerHello, PeerHelloAck, Offer, Grant, OfferRefused, Commit,
                                 CommitAck, Abandon, Revoke>;

// Bounds a peer's message must keep; beyond them it is refused and counted.
inline constexpr uint32_t kMaxBlocksPerGrant = 1u << 16;
inline constexpr uint32_t kMaxBlocksPerSegment = 1u << 10;
inline constexpr uint32_t kMaxSegmentsPerCommit = 1u << 14;
inline constexpr uint32_t kMaxPeerTextBytes = 4096;

}  // namespace tandem
