// What the transfer engine counts. Plain data; only grows, except the gauges at the end.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace tandem {

// Why a message of a peer was dropped.
enum class FenceReason : uint8_t {
  kMalformed,         // not a valid message
  kWrongIncarnation,  // meant for another life of this worker
  kMismatch,          // handshakes that do not pair
  kUnexpected,        // valid, but not at this point
  kUnknownGrant,      // a commit for a grant that is not open
  kDuplicate,         // a commit that was there before
  kCount,             // a new one also needs its label in common/telemetry/worker_metrics.h
};
const char* FenceReasonName(FenceReason reason);

// Why a segment was refused. Decided before any memory is named.
enum class SegmentRefusal : uint8_t {
  kMalformedHeader,
  kUnknownPeer,   // its connection has not finished the handshake
  kUnknownGrant,  // never opened, finished or revoked
  kWrongPeer,     // the grant belongs to another one
  kOutOfRange,    // shard, layer or blocks beyond the grant
  kSplitRun,      // its blocks do not lie side by side here
  kWrongLength,   // payload or checksum list does not match the blocks
  kDuplicate,     // a block of it was received or is being received
  kCount,
};
const char* SegmentRefusalName(SegmentRefusal reason);

struct TransferCounters {
  uint64_t segments_sent = 0;
  uint64_t bytes_sent = 0;
  uint64_t segments_failed = 0;  // pushes that ended not ok
  uint64_t segments_received = 0;
  uint64_t bytes_received = 0;
  uint64_t receives_failed = 0;
  uint64_t checksum_failures = 0;  // blocks
  uint64_t chunks_verified = 0;
  uint64_t chunks_rejected = 0;
  uint64_t peers_up = 0;       // handshakes finished
  uint64_t peers_down = 0;     // peers ended, before or after their handshake
  uint64_t stalled_peers = 0;  // of those, by the no-progress limit
  std::array<uint64_t, static_cast<size_t>(FenceReason::kCount)> fenced_messages{};
  std::array<uint64_t, static_cast<size_t>(SegmentRefusal::kCount)> refused_segments{};
  // Gauges: segments the transport still reads or writes, and those of them whose peer is already
  // ended. If the last stays above zero, the transport cannot answer: the worker drains and exits.
  uint64_t in_flight = 0;
  uint64_t in_flight_of_ended_peers = 0;

  uint64_t& operator[](FenceReason why) { return fenced_messages[static_cast<size_t>(why)]; }
  uint64_t& operator[](SegmentRefusal why) { return refused_segments[static_cast<size_t>(why)]; }
  uint64_t operator[](FenceReason why) const { return fenced_messages[static_cast<size_t>(why)]; }
  uint64_t operator[](SegmentRefusal why) const {
    return refused_segments[static_cast<size_t>(why)];
  }
};

}  // namespace tandem
