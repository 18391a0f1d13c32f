// StopMatcher finds stop strings in a stream of text, across the borders of its pieces. Text that
// may be the start of a stop string is held back until it is clear. Of several stop strings the one
// that is complete first wins (of those that end at the same byte the longest), so the result does
// not depend on how the text is cut. Thread-compatible: one stream, one owner. Time: bytes of text
// times number of stop strings.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace tandem {

class StopMatcher {
 public:
  struct Result {
    std::string text;             // safe to send now
    std::optional<size_t> match;  // which stop string ended the stream: its index in the list given
  };

  // Empty stop strings never match. `include_stop` sends the stop string itself as the end of the
  // text.
  explicit StopMatcher(std::vector<std::string> stops, bool include_stop = false);

  // After a match the stream is over: further text is dropped and the result is empty.
  Result Append(absl::string_view text);
  // The stream ended for another reason: returns what was held back.
  std::string Finish();

  bool matched() const { return matched_; }
  const std::string& stop(size_t index) const { return patterns_[index].text; }

 private:
  struct Pattern {
    std::string text;
    std::vector<size_t> fallback;  // by prefix length: the longest proper border of that prefix
    size_t length_matched = 0;
  };

  std::vector<Pattern> patterns_;
  bool include_stop_;
  bool matched_ = false;
  std::string held_;
};

}  // namespace tandem
