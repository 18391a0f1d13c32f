// Reading UTF-8 one code point at a time. Ill-formed bytes are counted in maximal parts, as
// Python's errors="replace" and Rust's from_utf8_lossy count them.
#pragma once

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace tandem {

inline constexpr char32_t kReplacementCharacter = 0xFFFD;

struct Utf8Step {
  enum Kind { kCodePoint, kIllFormed, kCutOff };
  Kind kind;         // kCutOff: the text ends inside a character that is well-formed so far
  char32_t value;    // U+FFFD unless kCodePoint
  size_t num_bytes;  // at least 1
};

// The character or ill-formed part at `pos`. REQUIRES: pos < text.size().
Utf8Step ReadUtf8(absl::string_view text, size_t pos);

void AppendUtf8(char32_t value, std::string& out);

bool IsWellFormedUtf8(absl::string_view text);
// Every ill-formed or cut-off part becomes one U+FFFD.
std::string ReplaceIllFormed(absl::string_view text);

}  // namespace tandem
