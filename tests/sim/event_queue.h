// EventQueue: virtual time. What happens later is an action with an instant; time jumps from one to
// the next. Actions of one instant run in the order in which they were added.
//
// Owned by the cluster; everything in a simulation runs inside RunNext(), in one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <utility>

#include "common/base/check.h"
#include "common/base/clock.h"
#include "tests/sim/random.h"

namespace tandem::sim {

class EventQueue {
 public:
  Instant now() const { return now_; }

  void At(Instant when, std::function<void()> action) {
    TANDEM_CHECK(when >= now_);
    actions_.emplace(std::pair(when, ++last_), std::move(action));
  }
  void After(Duration delay, std::function<void()> action) { At(now_ + delay, std::move(action)); }

  bool empty() const { return actions_.empty(); }
  Instant next() const { return empty() ? kNever : actions_.begin()->first.first; }

  // REQUIRES: not empty.
  void RunNext() {
    auto node = actions_.extract(actions_.begin());
    now_ = node.key().first;
    ++executed_;
    digest_ = Mix(digest_,
                  static_cast<uint64_t>(now_.time_since_epoch().count()) ^ node.key().second << 40);
    node.mapped()();
  }
  // Lets time pass up to `when` without an event. REQUIRES: none is due before.
  void AdvanceTo(Instant when) {
    TANDEM_CHECK(when >= now_ && when <= next());
    now_ = when;
  }

  uint64_t executed() const { return executed_; }
  // Of the times and numbers of all events: two runs of one seed end with the same one.
  uint64_t digest() const { return digest_; }

 private:
  Instant now_{std::chrono::hours(1)};
  uint64_t last_ = 0;
  uint64_t executed_ = 0;
  uint64_t digest_ = 0;
  std::map<std::pair<Instant, uint64_t>, std::function<void()>> actions_;
};

}  // namespace tandem::sim
