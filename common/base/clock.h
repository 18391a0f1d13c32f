// Time as the rest of Tandem sees it: a monotonic instant and durations. Wall-clock time is for
// logs only and never crosses the wire; deadlines travel as remaining durations.
#pragma once

#include <chrono>
#include <cstdint>

namespace tandem {

using Duration = std::chrono::nanoseconds;
// Nanoseconds since an arbitrary start of this process's monotonic clock (or of virtual time in a
// simulation).
using Instant = std::chrono::time_point<std::chrono::steady_clock, Duration>;

inline constexpr Instant kNever = Instant::max();

inline double ToSeconds(Duration d) { return std::chrono::duration<double>(d).count(); }
inline double ToMilliseconds(Duration d) { return ToSeconds(d) * 1e3; }

// The only door to the time of day for shells; cores are handed the time with each event.
// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual Instant Now() const = 0;
};

// The machine's monotonic clock. The returned object lives for ever.
const Clock& SystemClock();

// A clock that a test moves by hand. Thread-compatible.
class FakeClock : public Clock {
 public:
  Instant Now() const override { return now_; }
  void Advance(Duration d) { now_ += d; }

 private:
  Instant now_{std::chrono::hours(1)};
};

}  // namespace tandem
