#include "common/weights/tensor.h"

namespace tandem {

absl::string_view DTypeName(DType type) {
  switch (type) {
    case DType::kF32:
      return "F32";
    case DType::kF16:
      return "F16";
    case DType::kBF16:
      return "BF16";
    case DType::kQ8_0:
      return "Q8_0";
    case DType::kQ4_0:
      return "Q4_0";
    case DType::kQ4_1:
      return "Q4_1";
  }
  return "unknown";
}

int DTypeBlockSize(DType type) {
  switch (type) {
    case DType::kF32:
    case DType::kF16:
    case DType::kBF16:
      return 1;
    case DType::kQ8_0:
    case DType::kQ4_0:
    case DType::kQ4_1:
      return 32;
  }
  return 0;
}

int DTypeBlockBytes(DType type) {
  switch (type) {
    case DType::kF32:
      return 4;
    case DType::kF16:
    case DType::kBF16:
      return 2;
    case DType::kQ8_0:
      return 2 + 32;  // scale, then one byte a weight
    case DType::kQ4_0:
      return 2 + 16;  // scale, then half a byte a weight
    case DType::kQ4_1:
      return 2 + 2 + 16;  // scale, minimum, then half a byte a weight
  }
  return 0;
}

}  // namespace tandem
