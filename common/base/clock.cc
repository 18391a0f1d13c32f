#include "common/base/clock.h"

namespace tandem {
namespace {

class MonotonicClock : public Clock {
 public:
  Instant Now() const override {
    return std::chrono::time_point_cast<Duration>(std::chrono::steady_clock::now());
  }
};

}  // namespace

const Clock& SystemClock() {
  static const MonotonicClock clock;
  return clock;
}

}  // namespace tandem
