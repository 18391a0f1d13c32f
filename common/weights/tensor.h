// A tensor as it lies in a model file: a checked view into mapped memory.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace tandem {

// Element encodings that Tandem computes with. Quantized ones hold blocks of 32 weights along a
// row, as GGUF defines them.
enum class DType : uint8_t { kF32, kF16, kBF16, kQ8_0, kQ4_0, kQ4_1 };

absl::string_view DTypeName(DType type);
// Weights in one block (1 for the float types), and the bytes it takes.
int DTypeBlockSize(DType type);
int DTypeBlockBytes(DType type);

// A row-major matrix of `rows` rows of `cols` weights (a vector has rows == 1). Does not own its
// bytes: valid as long as the ModelFile that it came from. Invariant: cols is a multiple of the
// block size, and data.size() == rows * cols / DTypeBlockSize(type) * DTypeBlockBytes(type).
struct TensorView {
  std::string name;
  DType type = DType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
  absl::Span<const std::byte> data;
};

}  // namespace tandem
