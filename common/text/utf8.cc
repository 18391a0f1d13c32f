#include "common/text/utf8.h"

#include <cstdint>

namespace tandem {
namespace {

struct LeadByte {
  int num_continuations;  // -1: never starts a character
  uint8_t second_low,
      second_high;  // the bounds that exclude overlong forms, surrogates and > U+10FFFF
};

LeadByte Classify(uint8_t byte) {
  if (byte < 0x80) return {0, 0, 0};
  if (byte >= 0xC2 && byte <= 0xDF) return {1, 0x80, 0xBF};
  if (byte == 0xE0) return {2, 0xA0, 0xBF};
  if (byte == 0xED) return {2, 0x80, 0x9F};
  if (byte >= 0xE1 && byte <= 0xEF) return {2, 0x80, 0xBF};
  if (byte == 0xF0) return {3, 0x90, 0xBF};
  if (byte >= 0xF1 && byte <= 0xF3) return {3, 0x80, 0xBF};
  if (byte == 0xF4) return {3, 0x80, 0x8F};
  return {-1, 0, 0};
}

}  // namespace

Utf8Step ReadUtf8(absl::string_view text, size_t pos) {
  const uint8_t first = static_cast<uint8_t>(text[pos]);
  if (first < 0x80) return {Utf8Step::kCodePoint, first, 1};
  const LeadByte lead = Classify(first);
  if (lead.num_continuations < 0) return {Utf8Step::kIllFormed, kReplacementCharacter, 1};
  char32_t value = first & (0x3F >> lead.num_continuations);
  for (int i = 1; i <= lead.num_continuations; ++i) {
    if (pos + i >= text.size()) {
      return {Utf8Step::kCutOff, kReplacementCharacter, static_cast<size_t>(i)};
    }
    const uint8_t byte = static_cast<uint8_t>(text[pos + i]);
    const uint8_t low = i == 1 ? lead.second_low : 0x80;
    const uint8_t high = i == 1 ? lead.second_high : 0xBF;
    if (byte < low || byte > high) {
      return {Utf8Step::kIllFormed, kReplacementCharacter, static_cast<size_t>(i)};
    }
    value = (value << 6) | (byte & 0x3F);
  }
  return {Utf8Step::kCodePoint, value, static_cast<size_t>(lead.num_continuations) + 1};
}

void AppendUtf8(char32_t value, std::string& out) {
  const auto put = [&out](uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (value < 0x80) {
    put(value);
  } else if (value < 0x800) {
    put(0xC0 | (value >> 6));
    put(0x80 | (value & 0x3F));
  } else if (value < 0x10000) {
    put(0xE0 | (value >> 12));
    put(0x80 | ((value >> 6) & 0x3F));
    put(0x80 | (value & 0x3F));
  } else {
    put(0xF0 | (value >> 18));
    put(0x80 | ((value >> 12) & 0x3F));
    put(0x80 | ((value >> 6) & 0x3F));
    put(0x80 | (value & 0x3F));
  }
}

bool IsWellFormedUtf8(absl::string_view text) {
  for (size_t pos = 0; pos < text.size();) {
    const Utf8Step step = ReadUtf8(text, pos);
    if (step.kind != Utf8Step::kCodePoint) return false;
    pos += step.num_bytes;
  }
  return true;
}

std::string ReplaceIllFormed(absl::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) {
    const Utf8Step step = ReadUtf8(text, pos);
    AppendUtf8(step.value, out);
    pos += step.num_bytes;
  }
  return out;
}

}  // namespace tandem
