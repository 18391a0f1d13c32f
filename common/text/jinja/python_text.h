// String functions with Python's meaning: whitespace, indices and cases by Unicode, and the origin
// of every byte kept. Case mapping is one to one, except for the German sharp s. Pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/text/jinja/tracked_text.h"

namespace tandem::jinja {

bool IsPythonSpace(char32_t c);
absl::string_view StripLeft(absl::string_view text);  // whitespace
absl::string_view StripRight(absl::string_view text);

// str.strip and its one-sided forms; without `chars` whitespace is stripped.
TrackedText Strip(const TrackedText& text, const std::optional<std::string>& chars, bool left,
                  bool right);

// As string_view::find and rfind, but in linear time whatever the texts are: both may come from a
// request.
size_t FindText(absl::string_view text, absl::string_view wanted, size_t from = 0);
size_t FindLastText(absl::string_view text, absl::string_view wanted);

size_t CountCharacters(absl::string_view text);
// The byte where character `index` begins; text.size() at or beyond the end.
size_t ByteOffset(absl::string_view text, size_t index);
std::vector<TrackedText> Characters(const TrackedText& text);

enum class LetterCase { kUpper, kLower, kTitle, kCapitalize };
TrackedText ChangeCase(const TrackedText& text, LetterCase to);

// At most `max_count` replacements; negative: all.
TrackedText ReplaceAll(const TrackedText& text, absl::string_view from, const TrackedText& to,
                       int64_t max_count);
// str.split / str.rsplit; without `separator` at runs of whitespace. Negative max_count: all.
std::vector<TrackedText> Split(const TrackedText& text, const std::optional<std::string>& separator,
                               int64_t max_count, bool from_right);
std::vector<TrackedText> SplitLines(const TrackedText& text, bool keep_ends);

// repr() of a string and of a float.
std::string ReprText(absl::string_view text);
std::string ReprFloat(double value);

}  // namespace tandem::jinja
