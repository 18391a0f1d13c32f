// TrackedText is a string that knows which of its bytes came from the request. Every operation of
// the interpreter that makes a string from others goes through it, so the knowledge is never lost:
// copied bytes keep their origin, and what is newly made takes the origin of what it was made from.
// A value type; thread-compatible.
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/text/segment.h"

namespace tandem::jinja {

class TrackedText {
 public:
  TrackedText() = default;
  TrackedText(std::string bytes, bool trusted);

  const std::string& bytes() const { return bytes_; }
  absl::string_view view() const { return bytes_; }
  size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }

  // Whether every byte is trusted. True for an empty text.
  bool trusted() const;

  void Append(const TrackedText& other) { AppendPart(other, 0, other.size()); }
  void Append(absl::string_view bytes, bool trusted);
  // Appends bytes [begin, end) of `other`. REQUIRES: begin <= end <= other.size().
  void AppendPart(const TrackedText& other, size_t begin, size_t end);
  TrackedText Part(size_t begin, size_t end) const;

  // The text as segments, neighbours differing in trust.
  std::vector<Segment> ToSegments() const;

 private:
  struct Run {
    size_t end;
    bool trusted;
  };

  std::string bytes_;
  std::vector<Run> runs_;  // cover bytes_; none is empty, neighbours differ in trust
};

}  // namespace tandem::jinja
