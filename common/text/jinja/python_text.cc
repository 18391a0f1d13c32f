#include "common/text/jinja/python_text.h"

#include <string.h>  // memmem
#include <utf8proc.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/text/utf8.h"

namespace tandem::jinja {
namespace {

constexpr char32_t kSharpS = 0xDF;

bool IsContinuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

// Where the character that ends at `end` begins.
size_t PreviousCharacter(absl::string_view text, size_t end) {
  do {
    --end;
  } while (end > 0 && IsContinuation(text[end]));
  return end;
}

bool IsPrintable(char32_t c) {
  if (c == ' ') return true;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return false;
    default:
      return true;
  }
}

std::string MapCase(char32_t c, LetterCase to) {
  const auto code = static_cast<utf8proc_int32_t>(c);
  if (c == kSharpS && to == LetterCase::kUpper) return "SS";
  if (c == kSharpS && to != LetterCase::kLower) return "Ss";
  utf8proc_int32_t mapped = code;
  if (to == LetterCase::kUpper) mapped = utf8proc_toupper(code);
  if (to == LetterCase::kLower) mapped = utf8proc_tolower(code);
  if (to == LetterCase::kTitle) mapped = utf8proc_totitle(code);
  std::string out;
  AppendUtf8(static_cast<char32_t>(mapped), out);
  return out;
}

bool IsCased(char32_t c) {
  const auto code = static_cast<utf8proc_int32_t>(c);
  return utf8proc_toupper(code) != code || utf8proc_tolower(code) != code || c == kSharpS;
}

struct Bounds {
  size_t begin, end;
};

std::vector<Bounds> SplitBySpace(absl::string_view text, int64_t max_count) {
  std::vector<Bounds> parts;
  size_t pos = 0;
  while (true) {
    pos = text.size() - StripLeft(text.substr(pos)).size();
    if (pos == text.size()) return parts;
    if (max_count >= 0 && static_cast<int64_t>(parts.size()) == max_count) {
      parts.push_back({pos, text.size()});
      return parts;
    }
    size_t end = pos;
    while (end < text.size()) {
      const Utf8Step step = ReadUtf8(text, end);
      if (IsPythonSpace(step.value)) break;
      end += step.num_bytes;
    }
    parts.push_back({pos, end});
    pos = end;
  }
}

std::vector<Bounds> SplitByString(absl::string_view text, absl::string_view separator,
                                  int64_t max_count) {
  std::vector<Bounds> parts;
  size_t begin = 0;
  while (max_count < 0 || static_cast<int64_t>(parts.size()) < max_count) {
    const size_t found = FindText(text, separator, begin);
    if (found == absl::string_view::npos) break;
    parts.push_back({begin, found});
    begin = found + separator.size();
  }
  parts.push_back({begin, text.size()});
  return parts;
}

std::string Reversed(absl::string_view text) { return {text.rbegin(), text.rend()}; }

std::vector<Bounds> SplitByStringFromRight(absl::string_view text, absl::string_view separator,
                                           int64_t max_count) {
  std::vector<Bounds> parts = SplitByString(Reversed(text), Reversed(separator), max_count);
  std::reverse(parts.begin(), parts.end());
  for (Bounds& part : parts) part = {text.size() - part.end, text.size() - part.begin};
  return parts;
}

bool IsLineEnd(char32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
         c == 0x2029;
}

}  // namespace

bool IsPythonSpace(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
         c == 0x205F || c == 0x3000;
}

absl::string_view StripLeft(absl::string_view text) {
  while (!text.empty()) {
    const Utf8Step step = ReadUtf8(text, 0);
    if (!IsPythonSpace(step.value)) break;
    text.remove_prefix(step.num_bytes);
  }
  return text;
}

absl::string_view StripRight(absl::string_view text) {
  while (!text.empty()) {
    const size_t last = PreviousCharacter(text, text.size());
    if (!IsPythonSpace(ReadUtf8(text, last).value)) break;
    text = text.substr(0, last);
  }
  return text;
}

TrackedText Strip(const TrackedText& text, const std::optional<std::string>& chars, bool left,
                  bool right) {
  const absl::string_view view = text.view();
  const auto strips = [&](absl::string_view character) {
    if (!chars) return IsPythonSpace(ReadUtf8(character, 0).value);
    return absl::string_view(*chars).find(character) != absl::string_view::npos;
  };
  size_t begin = 0, end = view.size();
  while (left && begin < end) {
    const size_t length = ReadUtf8(view, begin).num_bytes;
    if (!strips(view.substr(begin, length))) break;
    begin += length;
  }
  while (right && begin < end) {
    const size_t last = PreviousCharacter(view, end);
    if (!strips(view.substr(last, end - last))) break;
    end = last;
  }
  return text.Part(begin, end);
}

size_t FindText(absl::string_view text, absl::string_view wanted, size_t from) {
  if (from > text.size()) return absl::string_view::npos;
  const void* found = memmem(text.data() + from, text.size() - from, wanted.data(), wanted.size());
  if (found == nullptr) return absl::string_view::npos;
  return static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

size_t FindLastText(absl::string_view text, absl::string_view wanted) {
  const size_t found = FindText(Reversed(text), Reversed(wanted));
  if (found == absl::string_view::npos) return found;
  return text.size() - found - wanted.size();
}

size_t CountCharacters(absl::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return !IsContinuation(c); }));
}

size_t ByteOffset(absl::string_view text, size_t index) {
  size_t pos = 0;
  for (; index > 0 && pos < text.size(); --index) pos += ReadUtf8(text, pos).num_bytes;
  return pos;
}

std::vector<TrackedText> Characters(const TrackedText& text) {
  std::vector<TrackedText> out;
  for (size_t pos = 0; pos < text.size();) {
    const size_t length = ReadUtf8(text.view(), pos).num_bytes;
    out.push_back(text.Part(pos, pos + length));
    pos += length;
  }
  return out;
}

TrackedText ChangeCase(const TrackedText& text, LetterCase to) {
  TrackedText out;
  bool in_word = false;
  for (size_t pos = 0; pos < text.size();) {
    const Utf8Step step = ReadUtf8(text.view(), pos);
    LetterCase wanted = to;
    if (to == LetterCase::kTitle || to == LetterCase::kCapitalize) {
      wanted = in_word ? LetterCase::kLower : LetterCase::kTitle;
      in_word = to == LetterCase::kCapitalize || IsCased(step.value);
    }
    const std::string mapped = MapCase(step.value, wanted);
    out.Append(mapped, text.Part(pos, pos + step.num_bytes).trusted());
    pos += step.num_bytes;
  }
  return out;
}

TrackedText ReplaceAll(const TrackedText& text, absl::string_view from, const TrackedText& to,
                       int64_t max_count) {
  TrackedText out;
  const absl::string_view view = text.view();
  size_t begin = 0;
  int64_t count = 0;
  if (from.empty()) {  // between all characters and at both ends
    while (max_count < 0 || count < max_count) {
      out.Append(to);
      ++count;
      if (begin == view.size()) break;
      const size_t length = ReadUtf8(view, begin).num_bytes;
      out.AppendPart(text, begin, begin + length);
      begin += length;
    }
  } else {
    for (; max_count < 0 || count < max_count; ++count) {
      const size_t found = FindText(view, from, begin);
      if (found == absl::string_view::npos) break;
      out.AppendPart(text, begin, found);
      out.Append(to);
      begin = found + from.size();
    }
  }
  out.AppendPart(text, begin, view.size());
  return out;
}

std::vector<TrackedText> Split(const TrackedText& text, const std::optional<std::string>& separator,
                               int64_t max_count, bool from_right) {
  std::vector<Bounds> bounds;
  if (!separator) {
    bounds = SplitBySpace(text.view(), max_count);
  } else if (from_right) {
    bounds = SplitByStringFromRight(text.view(), *separator, max_count);
  } else {
    bounds = SplitByString(text.view(), *separator, max_count);
  }
  std::vector<TrackedText> parts;
  parts.reserve(bounds.size());
  for (const Bounds& part : bounds) parts.push_back(text.Part(part.begin, part.end));
  return parts;
}

std::vector<TrackedText> SplitLines(const TrackedText& text, bool keep_ends) {
  std::vector<TrackedText> lines;
  size_t begin = 0;
  for (size_t pos = 0; pos < text.size();) {
    const Utf8Step step = ReadUtf8(text.view(), pos);
    size_t end = pos + step.num_bytes;
    if (IsLineEnd(step.value)) {
      if (step.value == '\r' && text.view().substr(end, 1) == "\n") ++end;
      lines.push_back(text.Part(begin, keep_ends ? end : pos));
      begin = end;
    }
    pos = end;
  }
  if (begin < text.size()) lines.push_back(text.Part(begin, text.size()));
  return lines;
}

std::string ReprText(absl::string_view text) {
  const bool has_single = text.find('\'') != absl::string_view::npos;
  const bool has_double = text.find('"') != absl::string_view::npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  std::string out(1, quote);
  for (size_t pos = 0; pos < text.size();) {
    const Utf8Step step = ReadUtf8(text, pos);
    pos += step.num_bytes;
    const auto code = static_cast<uint32_t>(step.value);
    if (step.value == static_cast<unsigned char>(quote) || step.value == '\\') {
      out.push_back('\\');
      out.push_back(static_cast<char>(step.value));
    } else if (step.value == '\n') {
      out += "\\n";
    } else if (step.value == '\r') {
      out += "\\r";
    } else if (step.value == '\t') {
      out += "\\t";
    } else if (IsPrintable(step.value)) {
      AppendUtf8(step.value, out);
    } else if (code < 0x100) {
      absl::StrAppendFormat(&out, "\\x%02x", code);
    } else if (code < 0x10000) {
      absl::StrAppendFormat(&out, "\\u%04x", code);
    } else {
      absl::StrAppendFormat(&out, "\\U%08x", code);
    }
  }
  out.push_back(quote);
  return out;
}

std::string ReprFloat(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char buffer[64];
  const auto scientific =
      std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::scientific);
  const std::string shortest(buffer, scientific.ptr);
  const int exponent = std::stoi(shortest.substr(shortest.find('e') + 1));
  if (exponent < -4 || exponent >= 16) return shortest;
  const auto fixed =
      std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::fixed);
  std::string out(buffer, fixed.ptr);
  if (out.find('.') == std::string::npos) out += ".0";
  return out;
}

}  // namespace tandem::jinja
