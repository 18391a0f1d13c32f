// Bounds of a session, the same on both sides; tests inject short ones.
#pragma once

#include <cstddef>

#include "common/base/clock.h"
#include "common/protocol/router_messages.h"

namespace tandem {

struct SessionLimits {
  // Nothing heard for so long, or (a worker's sessions) backlogged for so long: the session is
  // ended.
  Duration silence_limit = kSessionSilenceLimit;
  Duration first_backoff = std::chrono::milliseconds(100);  // doubled for each failure in a row
  Duration max_backoff = std::chrono::seconds(2);
  Duration shutdown_limit = std::chrono::seconds(2);
  // Outgoing. From a quarter of either on the session is backlogged: until it is not, a worker
  // takes no finished steps in, and a router places no requests there. What follows from earlier
  // ones is still sent, a prefill job of a placed request for one; so they are reached only if the
  // peer asks for more and more that it does not read.
  size_t max_queued_messages = 1 << 16;
  size_t max_queued_bytes = size_t{256} << 20;
  // Incoming: frames that the sink may have unhandled.
  size_t max_unhandled_frames = 16;
};

}  // namespace tandem
