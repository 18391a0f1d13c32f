// What the transfer engine knows about a peer and about each connection to it. Plain data.
//
// A connection (Link):
//   outgoing:  kAwaitingAck -> kReady       our hello is on the way; the peer's ack makes it ready
//   incoming:  kReady                       its hello was good, our ack is sent
//              kRefused                     its hello was not; our ack says why, the peer closes
//              (or a deadline does)
// A peer has one connection, or two when both sides connected at once; it is up when one is ready,
// and it ends, with all its connections, when any of them ends.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/engine/transfer_port.h"
#include "common/transfer/kv_transport.h"

namespace tandem {

struct Link {
  enum class State : uint8_t { kAwaitingAck, kReady, kRefused };
  State state = State::kAwaitingAck;
  Incarnation peer;
  bool outgoing = false;
  Instant deadline = kNever;       // of kAwaitingAck and kRefused
  std::vector<std::string> early;  // messages that overtook the peer's ack
};

struct Peer {
  uint64_t serial =
      0;  // tells this connection of minds from an earlier one with the same incarnation
  bool up = false;
  std::vector<ConnId> links;
  ConnId send_link;                 // once up
  std::vector<std::string> outbox;  // our messages, until up
  std::deque<PushSegment> queued;   // pushes that wait for room in flight
  size_t bytes_in_flight = 0;       // of sends
  size_t posted = 0;                // segments in flight, both ways
  Instant last_progress;            // of posted segments
};

// A segment that the transport may still read or write.
struct InFlight {
  Incarnation peer;
  uint64_t serial = 0;
  size_t bytes = 0;
};

}  // namespace tandem
