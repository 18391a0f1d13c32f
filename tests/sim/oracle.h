// Oracle: keeps the first thing that went wrong in a run. Whoever sees a rule broken says so here;
// the cluster stops after the event in which that happened.
#pragma once

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/sim/event_log.h"

namespace tandem::sim {

class Oracle {
 public:
  explicit Oracle(const EventLog* log) : log_(log) {}

  template <class... Parts>
  void Fail(const Parts&... parts) {
    if (failed()) return;
    failure_ = absl::StrCat(parts...);
    log_->Note("ORACLE: ", failure_);
  }
  template <class... Parts>
  void Require(bool condition, const Parts&... parts) {
    if (!condition) [[unlikely]] {
      Fail(parts...);
    }
  }

  bool failed() const { return !failure_.empty(); }
  const std::string& failure() const { return failure_; }

 private:
  const EventLog* log_;
  std::string failure_;
};

}  // namespace tandem::sim
