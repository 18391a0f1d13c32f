#include "common/text/unicode_classes.h"

#include <algorithm>
#include <cstddef>
#include <map>

namespace tandem {
namespace {

struct CodePointRange {
  uint32_t first, last;
};

#include "common/text/unicode_ranges.inc"

template <size_t N>
void Mark(const CodePointRange (&ranges)[N], UnicodeClass flag, std::vector<uint8_t>& classes) {
  for (const CodePointRange& range : ranges) {
    for (uint32_t c = range.first; c <= range.last; ++c) classes[c] |= flag;
  }
}

}  // namespace

UnicodeClassTable::UnicodeClassTable() {
  std::vector<uint8_t> classes(0x110000, kClassOther);
  Mark(kLetterRanges, kClassLetter, classes);
  Mark(kNumberRanges, kClassNumber, classes);
  Mark(kSpaceRanges, kClassSpace, classes);
  Mark(kDigitRanges, kClassDigit, classes);

  std::map<std::array<uint8_t, 256>, uint16_t> known;
  for (size_t page = 0; page < page_of_.size(); ++page) {
    std::array<uint8_t, 256> content;
    std::copy_n(classes.begin() + static_cast<ptrdiff_t>(page * 256), 256, content.begin());
    const auto [entry, added] = known.emplace(content, static_cast<uint16_t>(pages_.size()));
    if (added) pages_.push_back(content);
    page_of_[page] = entry->second;
  }
}

const UnicodeClassTable& UnicodeClassTable::Get() {
  static const UnicodeClassTable table;
  return table;
}

}  // namespace tandem
