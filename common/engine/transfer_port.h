// What a core asks of its transfer thread, and what it hears back. Plain data. A peer is named by
// its incarnation, so a restarted worker is another peer.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "common/base/clock.h"
#include "common/base/ids.h"
#include "common/protocol/nonce.h"
#include "common/protocol/peer_messages.h"

namespace tandem {

// One piece of pushed memory at the sender; ends in exactly one SegmentSent.
using PushId = StrongId<struct PushIdTag, uint64_t>;

// ---- core -> transfer ----

// Connects (once; idempotent while the peer is connecting or up) and shakes hands. Answered by
// PeerUp or PeerDown.
struct ConnectPeer {
  Incarnation peer;
  std::string address;
};

// A control message. Sent when the peer is up, held (bounded) while it is connecting, dropped when
// it is down.
struct SendPeerMessage {
  Incarnation peer;
  PeerMessage message;
};

// From now on segments of `grant` may land: logical block first_block + i goes to blocks[i], each
// (layer, block) once.
struct OpenLanding {
  GrantId grant;
  Incarnation peer;
  uint32_t first_block = 0;
  std::vector<BlockId> blocks;
  Nonce nonce{};  // the right to write that the grant answered
};

// Refuses further segments of the grant at once, and answers Quiesced when no receive into its
// blocks is posted any more. Asked for every grant, finished or revoked, before its blocks may be
// freed.
struct CloseLanding {
  GrantId grant;
};

// Sends one layer of blocks [source, source + num_blocks) of the arena, which are contiguous in
// memory, as `segment`. The blocks must stay held until SegmentSent.
struct PushSegment {
  PushId push;
  Incarnation peer;
  GrantId grant;
  SegmentId segment;
  BlockId source;
  Nonce nonce{};  // the right to write that the grant answered
};

using TransferCommand =
    std::variant<ConnectPeer, SendPeerMessage, OpenLanding, CloseLanding, PushSegment>;

// ---- transfer -> core ----

struct PeerUp {
  Incarnation peer;
};

// The peer is gone for good: dead, unreachable, mismatched or silent. All its pushes are reported
// too.
struct PeerDown {
  Incarnation peer;
  std::string reason;
};

// An Offer, Grant, OfferRefused, CommitAck, Abandon or Revoke of a peer that is up.
struct PeerMessageReceived {
  Incarnation peer;
  PeerMessage message;
};

// Every segment of the commit was received into the grant's blocks and its checksums hold.
struct ChunkVerified {
  GrantId grant;
  uint32_t first_block = 0;
  uint32_t num_blocks = 0;
  uint64_t bytes = 0;
};

// The commit can never be completed: segments are damaged or do not fit the grant.
struct ChunkRejected {
  GrantId grant;
  uint32_t first_block = 0;
  uint32_t num_blocks = 0;
  std::vector<SegmentId> bad;
  std::string reason;
};

struct Quiesced {
  GrantId grant;
};

// The segment's memory is no longer read by the transport. `ok` false: it did not get there.
struct SegmentSent {
  PushId push;
  bool ok = true;
};

using TransferEvent = std::variant<PeerUp, PeerDown, PeerMessageReceived, ChunkVerified,
                                   ChunkRejected, Quiesced, SegmentSent>;

}  // namespace tandem
