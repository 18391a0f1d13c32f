#include "common/weights/utf8.h"

#include <cstddef>
#include <cstdint>

namespace tandem {
namespace {

// Length of the well-formed sequence that starts at `bytes`, 0 when there is none in `size` bytes.
size_t SequenceLength(const uint8_t* bytes, size_t size) {
  const uint8_t lead = bytes[0];
  if (lead < 0x80) return 1;
  if (lead < 0xc2 || lead > 0xf4) return 0;
  const size_t length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  if (size < length) return 0;
  // Only the second byte's range depends on the lead: it excludes overlong forms, surrogates and
  // too large values.
  const uint8_t low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  const uint8_t high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  if (bytes[1] < low || bytes[1] > high) return 0;
  for (size_t i = 2; i < length; ++i) {
    if ((bytes[i] & 0xc0) != 0x80) return 0;
  }
  return length;
}

}  // namespace

bool IsUtf8(absl::string_view text) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  for (size_t position = 0; position < text.size();) {
    const size_t length = SequenceLength(bytes + position, text.size() - position);
    if (length == 0) return false;
    position += length;
  }
  return true;
}

}  // namespace tandem
