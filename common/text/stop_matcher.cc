#include "common/text/stop_matcher.h"

#include <algorithm>
#include <utility>

namespace tandem {
namespace {

std::vector<size_t> BorderLengths(const std::string& text) {
  std::vector<size_t> borders(text.size() + 1, 0);
  size_t border = 0;
  for (size_t i = 1; i < text.size(); ++i) {
    while (border > 0 && text[i] != text[border]) border = borders[border];
    if (text[i] == text[border]) ++border;
    borders[i + 1] = border;
  }
  return borders;
}

}  // namespace

StopMatcher::StopMatcher(std::vector<std::string> stops, bool include_stop)
    : include_stop_(include_stop) {
  for (std::string& stop : stops) {
    std::vector<size_t> borders = BorderLengths(stop);
    patterns_.push_back(Pattern{std::move(stop), std::move(borders)});
  }
}

StopMatcher::Result StopMatcher::Append(absl::string_view text) {
  if (matched_) return {};
  for (size_t i = 0; i < text.size(); ++i) {
    std::optional<size_t> match;
    for (size_t p = 0; p < patterns_.size(); ++p) {
      Pattern& pattern = patterns_[p];
      if (pattern.text.empty()) continue;
      size_t& length = pattern.length_matched;
      while (length > 0 && text[i] != pattern.text[length]) length = pattern.fallback[length];
      if (text[i] == pattern.text[length]) ++length;
      const bool complete = length == pattern.text.size();
      if (complete && (!match || length > patterns_[*match].text.size())) match = p;
    }
    if (match) {
      matched_ = true;
      std::string out = std::exchange(held_, "");
      out.append(text.data(), i + 1);
      if (!include_stop_) out.resize(out.size() - patterns_[*match].text.size());
      return {std::move(out), match};
    }
  }
  size_t hold = 0;
  for (const Pattern& pattern : patterns_) hold = std::max(hold, pattern.length_matched);
  std::string out = std::exchange(held_, "");
  out.append(text.data(), text.size());
  held_ = out.substr(out.size() - hold);
  out.resize(out.size() - hold);
  return {std::move(out), std::nullopt};
}

std::string StopMatcher::Finish() { return std::exchange(held_, ""); }

}  // namespace tandem
