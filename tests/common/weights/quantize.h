// Encodes float rows as GGUF blocks, the simplest way that is right. For tests. Pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "common/weights/tensor.h"

namespace tandem {

// Rounds to nearest, ties to even; beyond the range: infinity.
uint16_t FloatToFloat16(float value);
uint16_t FloatToBFloat16(float value);

// `weights` holds whole blocks of `type`.
std::vector<std::byte> EncodeWeights(DType type, absl::Span<const float> weights);

}  // namespace tandem
