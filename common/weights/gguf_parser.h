// Parses the header, the metadata and the tensor directory of a GGUF version 3 file. Internal to
// common/weights. Knows the container only: no key's meaning except general.alignment. Pure.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/weights/gguf_metadata.h"
#include "common/weights/tensor.h"

namespace tandem {

inline constexpr uint64_t kMaxGgufTensors = 65536;
inline constexpr uint64_t kMaxGgufKeys = 65536;
inline constexpr uint64_t kMaxGgufStringBytes = uint64_t{1} << 24;
inline constexpr uint64_t kMaxGgufArrayElements = uint64_t{1} << 24;
inline constexpr uint32_t kMaxGgufDimensions = 4;
inline constexpr int kMaxGgufArrayDepth = 4;
inline constexpr uint64_t kMaxGgufNameBytes = 64;  // of a tensor
inline constexpr uint64_t kMaxGgufKeyBytes = 65535;

struct GgufTensor {
  TensorView view;
  int num_dimensions = 0;
  std::array<int64_t, kMaxGgufDimensions> dimensions{};  // [0] varies fastest; unused ones are 1
};

// Invariant after parsing: names are unique, every view lies inside the file, none overlaps
// another.
struct GgufContents {
  GgufMetadata metadata;
  std::vector<GgufTensor> tensors;  // in directory order
};

// The result refers to `file`.
absl::StatusOr<GgufContents> ParseGguf(absl::Span<const std::byte> file);

}  // namespace tandem
