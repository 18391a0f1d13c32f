// Weights as float32, exactly as GGML defines each encoding. The slow and plain way: tests,
// references and small tensors; kernels read the blocks themselves. Pure functions.
#pragma once

#include <cstdint>

#include "absl/types/span.h"
#include "common/weights/tensor.h"

namespace tandem {

// Exact, subnormals, infinities and NaN payloads included.
float Float16ToFloat(uint16_t bits);
float BFloat16ToFloat(uint16_t bits);

// Writes row `row` of `tensor`. Requires 0 <= row < tensor.rows and out.size() == tensor.cols.
void DequantizeRow(const TensorView& tensor, int64_t row, absl::Span<float> out);

}  // namespace tandem
