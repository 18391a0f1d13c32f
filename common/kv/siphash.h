// SipHash-2-4 with 128 bits of output (Aumasson and Bernstein): a keyed hash that is fast on short
// inputs.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"

namespace tandem {

// The 16 output bytes, as two little-endian words in order.
std::array<uint64_t, 2> SipHash128(const std::array<uint8_t, 16>& key,
                                   absl::Span<const uint8_t> message);

}  // namespace tandem
