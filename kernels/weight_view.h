// A raw weight matrix as it lies in a model file, and how to read it as floats. What Backend::Pack
// takes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace tandem {

// Element encodings; the quantized ones are GGUF's blocks of 32 weights along a row.
enum class WeightType : uint8_t { kF32, kF16, kBF16, kQ8_0, kQ4_0, kQ4_1 };

absl::string_view WeightTypeName(WeightType type);
int WeightBlockSize(WeightType type);   // weights in one block: 32, or 1 for the float types
int WeightBlockBytes(WeightType type);  // bytes of one block

// Row-major [rows, cols]; row = output feature, col = input feature. Does not own its bytes.
struct WeightView {
  WeightType type = WeightType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
  absl::Span<const std::byte> data;
};

// OK if the sizes are positive, cols is whole blocks and data has exactly the bytes that the shape
// needs; otherwise INVALID_ARGUMENT that names the numbers.
absl::Status CheckWeightView(const WeightView& view);

// Writes row `row` as cols floats: the exact value of each weight as GGUF defines it (scale * q, or
// scale * q + min, rounded after each step). REQUIRES: CheckWeightView(view) is OK.
void DequantizeRow(const WeightView& view, int64_t row, float* out);

float HalfToFloat(uint16_t half);   // IEEE binary16, exact
uint16_t FloatToHalf(float value);  // rounds to nearest even, as F16C does

}  // namespace tandem
