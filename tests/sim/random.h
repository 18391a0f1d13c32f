// The one source of chance in a simulated cluster: everything that is not fixed is drawn from it in
// the order of events, so that a seed is a complete description of a run.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/base/check.h"
#include "common/base/clock.h"

namespace tandem::sim {

// SplitMix64's step: every bit of the result depends on every bit of `x`.
inline uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}
inline uint64_t Mix(uint64_t a, uint64_t b) { return Mix(Mix(a) ^ b); }

class Random {
 public:
  explicit Random(uint64_t seed) : state_(Mix(seed)) {}

  uint64_t Next() { return Mix(state_++); }
  uint64_t Below(uint64_t n) {
    TANDEM_CHECK(n > 0);
    return Next() % n;
  }
  uint32_t Between(uint32_t low, uint32_t high) {
    return low + static_cast<uint32_t>(Below(high - low + 1));
  }
  Duration Between(Duration low, Duration high) {
    return low + Duration(Below(static_cast<uint64_t>((high - low).count()) + 1));
  }
  bool Chance(double probability) { return (Next() >> 11) * 0x1p-53 < probability; }

 private:
  uint64_t state_;
};

}  // namespace tandem::sim
