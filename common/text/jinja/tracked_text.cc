#include "common/text/jinja/tracked_text.h"

#include <algorithm>

namespace tandem::jinja {

TrackedText::TrackedText(std::string bytes, bool trusted) : bytes_(std::move(bytes)) {
  if (!bytes_.empty()) runs_.push_back(Run{bytes_.size(), trusted});
}

bool TrackedText::trusted() const {
  return std::all_of(runs_.begin(), runs_.end(), [](const Run& run) { return run.trusted; });
}

void TrackedText::Append(absl::string_view bytes, bool trusted) {
  if (bytes.empty()) return;
  bytes_.append(bytes.data(), bytes.size());
  if (!runs_.empty() && runs_.back().trusted == trusted) {
    runs_.back().end = bytes_.size();
  } else {
    runs_.push_back(Run{bytes_.size(), trusted});
  }
}

void TrackedText::AppendPart(const TrackedText& other, size_t begin, size_t end) {
  auto run = std::upper_bound(other.runs_.begin(), other.runs_.end(), begin,
                              [](size_t pos, const Run& r) { return pos < r.end; });
  while (begin < end) {
    const size_t stop = std::min(end, run->end);
    Append(other.view().substr(begin, stop - begin), run->trusted);
    begin = stop;
    ++run;
  }
}

TrackedText TrackedText::Part(size_t begin, size_t end) const {
  TrackedText part;
  part.AppendPart(*this, begin, end);
  return part;
}

std::vector<Segment> TrackedText::ToSegments() const {
  std::vector<Segment> segments;
  size_t begin = 0;
  for (const Run& run : runs_) {
    segments.push_back(Segment{bytes_.substr(begin, run.end - begin), run.trusted});
    begin = run.end;
  }
  return segments;
}

}  // namespace tandem::jinja
