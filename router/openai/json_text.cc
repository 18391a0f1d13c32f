#include "router/openai/json_text.h"

#include <array>
#include <cstdint>

#include "common/text/utf8.h"

namespace tandem {
namespace {

constexpr char kHex[] = "0123456789abcdef";

// By byte: 0 for one that stands for itself, 'u' for one that is written as \u00XX, 'x' for the
// start of a character beyond ASCII, else the letter after the backslash.
constexpr std::array<char, 256> kEscapes = [] {
  std::array<char, 256> escapes{};
  for (int c = 0; c < 0x20; ++c) escapes[c] = 'u';
  for (int c = 0x80; c < 0x100; ++c) escapes[c] = 'x';
  escapes['"'] = '"';
  escapes['\\'] = '\\';
  escapes['\b'] = 'b';
  escapes['\f'] = 'f';
  escapes['\n'] = 'n';
  escapes['\r'] = 'r';
  escapes['\t'] = 't';
  return escapes;
}();

}  // namespace

void AppendJsonString(absl::string_view text, std::string* out) {
  out->push_back('"');
  size_t plain = 0;  // start of what was seen and is not written yet
  size_t at = 0;
  while (at < text.size()) {
    const char escape = kEscapes[static_cast<uint8_t>(text[at])];
    if (escape == 0) {
      ++at;
      continue;
    }
    out->append(text.data() + plain, at - plain);
    if (escape == 'x') {
      const Utf8Step step = ReadUtf8(text, at);
      AppendUtf8(step.kind == Utf8Step::kCutOff ? kReplacementCharacter : step.value, *out);
      at += step.num_bytes;
    } else {
      out->push_back('\\');
      out->push_back(escape);
      if (escape == 'u') {
        const uint8_t byte = static_cast<uint8_t>(text[at]);
        out->append("00");
        out->push_back(kHex[byte >> 4]);
        out->push_back(kHex[byte & 15]);
      }
      ++at;
    }
    plain = at;
  }
  out->append(text.data() + plain, text.size() - plain);
  out->push_back('"');
}

}  // namespace tandem
