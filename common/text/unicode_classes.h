// The Unicode classes that byte-level BPE pre-tokenizers split by, as the reference sees them. Its
// regular expressions and its digit splitter carry different Unicode versions, hence two number
// classes. The ranges are generated: tests/common/text/make_unicode_tables.py.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace tandem {

enum UnicodeClass : uint8_t {
  kClassOther = 0,
  kClassLetter = 1,  // \p{L} of the regular expression
  kClassNumber = 2,  // \p{N} of the regular expression
  kClassSpace = 4,   // \s of the regular expression
  kClassDigit = 8,   // what the digit splitter isolates; a flag beside the others
};

// Constant-time lookup over all code points, in about 60 KB. Immutable.
class UnicodeClassTable {
 public:
  static const UnicodeClassTable& Get();

  // A combination of UnicodeClass flags. REQUIRES: code_point <= 0x10FFFF.
  uint8_t operator[](char32_t code_point) const {
    return pages_[page_of_[code_point >> 8]][code_point & 0xFF];
  }

 private:
  UnicodeClassTable();

  std::array<uint16_t, 0x1100> page_of_;
  std::vector<std::array<uint8_t, 256>> pages_;
};

}  // namespace tandem
