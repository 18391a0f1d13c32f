// Deadlines: every wait of a core or a transfer engine ends at one of these.
#pragma once

#include "common/base/clock.h"
#include "common/base/protection.h"

namespace tandem {

// `left` from now; kNever where that lies beyond all time, as it does for what has no limit.
inline Instant DeadlineAfter(Instant now, Duration left) {
  if (!Enabled(Protection::kDeadlines)) return kNever;
  return left < kNever - now ? now + left : kNever;
}

}  // namespace tandem
