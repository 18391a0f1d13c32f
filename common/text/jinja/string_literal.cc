#include "common/text/jinja/string_literal.h"

#include <cstddef>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "common/text/utf8.h"

namespace tandem::jinja {
namespace {

constexpr absl::string_view kSimpleEscapes = "\\'\"abfnrtv";
constexpr absl::string_view kSimpleValues = "\\'\"\a\b\f\n\r\t\v";

size_t HexDigits(char escape) {
  return escape == 'x' ? 2 : escape == 'u' ? 4 : escape == 'U' ? 8 : 0;
}

bool IsOctal(char c) { return c >= '0' && c <= '7'; }

}  // namespace

absl::StatusOr<std::string> UnescapeStringLiteral(absl::string_view inner) {
  std::string out;
  for (size_t i = 0; i < inner.size(); ++i) {
    if (inner[i] != '\\' || i + 1 == inner.size()) {
      out.push_back(inner[i]);
      continue;
    }
    const char escape = inner[++i];
    if (const size_t simple = kSimpleEscapes.find(escape); simple != absl::string_view::npos) {
      out.push_back(kSimpleValues[simple]);
    } else if (escape == '\n') {
      continue;  // the line goes on
    } else if (escape == 'N') {
      return absl::UnimplementedError("\\N{...} in a string is not supported");
    } else if (const size_t digits = HexDigits(escape); digits > 0) {
      uint32_t value = 0;
      const absl::string_view hex = inner.substr(i + 1, digits);
      bool valid = hex.size() == digits;
      for (const char c : hex) valid = valid && absl::ascii_isxdigit(static_cast<unsigned char>(c));
      if (!valid || !absl::SimpleHexAtoi(hex, &value)) {
        return absl::InvalidArgumentError("broken hexadecimal escape in a string");
      }
      if (value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) {
        return absl::InvalidArgumentError("an escape in a string is no character");
      }
      AppendUtf8(value, out);
      i += digits;
    } else if (IsOctal(escape)) {
      uint32_t value = 0;
      size_t end = i;
      while (end < inner.size() && end < i + 3 && IsOctal(inner[end])) {
        value = value * 8 + static_cast<uint32_t>(inner[end++] - '0');
      }
      AppendUtf8(value, out);
      i = end - 1;
    } else {
      out.push_back('\\');
      out.push_back(escape);
    }
  }
  return out;
}

}  // namespace tandem::jinja
