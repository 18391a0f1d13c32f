// EventLog: what happened, in words and with virtual time. Off while thousands of seeds run; on
// when one of them is replayed.
#pragma once

#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tests/sim/event_queue.h"

namespace tandem::sim {

class EventLog {
 public:
  EventLog(const EventQueue* queue, bool enabled)
      : queue_(queue), start_(queue->now()), enabled_(enabled) {}

  bool enabled() const { return enabled_; }

  // One line; the parts are put together only when somebody reads them.
  template <class... Parts>
  void Note(const Parts&... parts) const {
    if (enabled_) Print(absl::StrCat(parts...));
  }

 private:
  void Print(const std::string& text) const {
    std::printf("%12.4f ms  %s\n", ToMilliseconds(queue_->now() - start_), text.c_str());
    // At once: a CHECK in a core ends the process.
    std::fflush(stdout);
  }

  const EventQueue* queue_;
  const Instant start_;
  const bool enabled_;
};

}  // namespace tandem::sim
