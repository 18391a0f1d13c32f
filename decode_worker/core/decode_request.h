// One request on the decode worker: its sequence, who fills it, and where pushed blocks land. State
// only; DecodeCore moves it.
//
//   booked ─▶ waiting for its filler ─▶ landed or filling itself ─▶ decoding ─▶ ended ─▶ gone
//                 (lease REMOTE or NONE)        (lease SELF)
//
// What a message does, by the state it meets (tests/decode_worker/core/message_table_test.cc tries
// every cell). States: U booked without a filler, A assigned to a prefill worker, O its offer waits
// for room, G granted, S filling itself (and decoding). "stale": counted, without effect; "lost":
// FillLost to the router, then U, or S after the last attempt. Leaving O tells the prefill worker
// Revoke; leaving G also puts what has not landed into quarantine. "held": its Assign may be on the
// way; when that comes the Offer counts, else it is refused and stale after a moment.
//
//                          none     U        A        O        G            S
//   Generate, epoch known  booked   Refused  Refused  Refused  Refused      Refused
//   Generate, newer epoch  booked   booked anew, the old one is cancelled
//   Assign, newer attempt  stale    A        A        A        A            FillLost: superseded
//   Assign, known attempt  stale    stale    stale    stale    stale        FillLost: superseded
//   Assign to itself       stale    S        S        S        S            -
//   Cancel, session ends   -        ended    ended    ended    ended        ended
//   Offer, right nonce     held     held     O or G   -        Grant again  held
//   Offer, other nonce: held in every state; other peer or life: refused and stale
//   chunk verified         stale    stale    stale    stale    lands        stale
//   chunk rejected         stale    stale    stale    stale    lost         stale
//   Abandon                stale    stale    lost     lost     lost         stale
//   peer down              -        -        lost     lost     lost         -
//   lease expires          -        S        S        (stands) S            -
//
// An ended request is unschedulable at once; its blocks are freed when no step uses them any more.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "common/base/clock.h"
#include "common/base/ids.h"
#include "common/engine/fill_lease.h"
#include "common/engine/sequence.h"
#include "common/engine/step.h"
#include "common/kv/ledger.h"
#include "common/protocol/peer_messages.h"
#include "common/protocol/router_messages.h"

namespace tandem {

// A prefill worker that has offered and waits for room.
struct PendingOffer {
  Incarnation peer;
  Nonce nonce;
};

// Room given to a prefill worker.
struct Landing {
  Incarnation peer;
  Grant grant;         // as sent, for a repeated Offer
  LandingLease lease;  // logical blocks from grant.first_block on
};

struct DecodeRequest {
  SequenceKey key;  // also its age: counts up in booking order
  SessionId session;
  RequestId request;
  uint32_t epoch = 0;
  std::string trace_id;
  Lane lane = Lane::kInteractive;
  std::shared_ptr<const SamplingParams> sampling;
  Sequence sequence;
  Booking booking;
  FillLease lease;
  std::optional<PendingOffer> offer;
  std::optional<Landing> landing;
  bool in_step = false;
  bool ended = false;
  bool counted_cache = false;  // the first look into the prefix cache is what the timings report

  Instant arrived;
  Instant expires;
  DecodeTimings timings;

  // Leading blocks that a peer may fill.
  uint32_t remote_blocks() const { return SharableBlocks(sequence.tokens().size()); }
  // Everything that can be filled by others is there, or this worker fills the rest.
  bool schedulable() const { return lease.state() == FillState::kSelf && !ended && !in_step; }
  // Its blocks may be taken for an older sequence, also while it waits for its filler. A landing is
  // left alone: it ends by itself.
  bool preemptible() const { return !ended && !in_step && !landing && !sequence.blocks().empty(); }
};

}  // namespace tandem
