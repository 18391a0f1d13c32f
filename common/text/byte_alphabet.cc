#include "common/text/byte_alphabet.h"

#include <array>

#include "common/text/utf8.h"

namespace tandem {
namespace {

constexpr size_t kAlphabetEnd = 0x144;  // 256 plus the 68 bytes that do not stand for themselves

bool StandsForItself(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

struct Alphabet {
  std::array<char32_t, 256> character;
  std::array<int, kAlphabetEnd> byte;  // by character; -1: not in the alphabet

  Alphabet() {
    byte.fill(-1);
    char32_t next = 0x100;
    for (int b = 0; b < 256; ++b) {
      character[b] = StandsForItself(b) ? static_cast<char32_t>(b) : next++;
      byte[character[b]] = b;
    }
  }
};

const Alphabet& GetAlphabet() {
  static const Alphabet alphabet;
  return alphabet;
}

}  // namespace

std::string SpellByte(uint8_t byte) {
  std::string out;
  AppendUtf8(GetAlphabet().character[byte], out);
  return out;
}

std::string BytesOfToken(absl::string_view token) {
  std::string bytes;
  for (size_t pos = 0; pos < token.size();) {
    const Utf8Step step = ReadUtf8(token, pos);
    const int byte = step.kind == Utf8Step::kCodePoint && step.value < kAlphabetEnd
                         ? GetAlphabet().byte[step.value]
                         : -1;
    if (byte < 0) return std::string(token);
    bytes.push_back(static_cast<char>(byte));
    pos += step.num_bytes;
  }
  return bytes;
}

}  // namespace tandem
