// Budget bounds one rendering: steps, bytes built and nesting. Single-threaded.
#pragma once

#include <cstddef>

#include "absl/status/status.h"
#include "common/text/chat_template.h"

namespace tandem::jinja {

class Budget {
 public:
  explicit Budget(const ChatTemplateLimits& limits) : limits_(limits) {}

  absl::Status Step(size_t count = 1) {
    steps_ += count;
    if (steps_ <= limits_.max_steps) return absl::OkStatus();
    return absl::ResourceExhaustedError("too many steps");
  }
  // Before work that grows with a text, such as searching it.
  absl::Status Read(size_t bytes) { return Step(bytes / 256); }
  // Before building a value of that size. Overflow-safe.
  absl::Status Build(size_t bytes) {
    if (bytes <= limits_.max_built_bytes - built_) {
      built_ += bytes;
      return absl::OkStatus();
    }
    return absl::ResourceExhaustedError("too much text built");
  }
  absl::Status Output(size_t total_bytes) const {
    if (total_bytes <= limits_.max_output_bytes) return absl::OkStatus();
    return absl::ResourceExhaustedError("the prompt is too long");
  }

  // Counts one level of nesting while it lives.
  class Level {
   public:
    explicit Level(Budget& budget) : budget_(budget) { ++budget_.depth_; }
    ~Level() { --budget_.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;
    absl::Status Check() const {
      if (budget_.depth_ <= budget_.limits_.max_depth) return absl::OkStatus();
      return absl::ResourceExhaustedError("nested too deeply");
    }

   private:
    Budget& budget_;
  };

 private:
  const ChatTemplateLimits limits_;
  size_t steps_ = 0, built_ = 0, depth_ = 0;
};

}  // namespace tandem::jinja
