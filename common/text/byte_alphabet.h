// The printable alphabet in which byte-level BPE vocabularies spell bytes: each of the 256 bytes is
// one character; visible Latin-1 characters stand for themselves, the others are moved to U+0100
// and above.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace tandem {

// The character, as UTF-8, that spells `byte`.
std::string SpellByte(uint8_t byte);

// The bytes that `token` spells. A token with a character outside the alphabet stands for its own
// UTF-8 bytes, as in the reference.
std::string BytesOfToken(absl::string_view token);

}  // namespace tandem
