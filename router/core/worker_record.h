// What RouterCore keeps about one configured worker.
#pragma once

#include <cstdint>

#include "absl/container/btree_set.h"
#include "common/base/clock.h"
#include "common/base/ids.h"
#include "common/protocol/router_messages.h"
#include "router/core/prefix_map.h"

namespace tandem {

struct WorkerRecord {
  explicit WorkerRecord(size_t prefix_capacity) : prefixes(prefix_capacity) {}

  bool up = false;
  WorkerHello hello;  // of the current or the last life
  WorkerLoad load;    // as last reported
  bool draining = false;
  bool stalled = false;    // its runner made no progress for long: gets nothing new
  Instant last_heard;      // or not listened to
  Instant last_sent;       // heartbeat
  Instant back_until{};    // cut our session off: until then the next one is expected
  Instant closed_until{};  // refused for want of capacity: not asked again before this time
  uint32_t booked_blocks_at_refusal = 0;
  uint32_t bookings_in_flight = 0;  // Generate sent, not answered
  uint64_t assigned_tokens = 0;     // prefill: of our running jobs
  absl::btree_set<RequestId>
      requests;  // that involve it; ordered, so that effects are reproducible
  PrefixMap prefixes;

  bool Takes(WorkerRole role) const { return up && hello.role == role && !draining && !stalled; }
};

}  // namespace tandem
