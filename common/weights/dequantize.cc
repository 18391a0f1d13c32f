#include "common/weights/dequantize.h"

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstring>

#include "common/base/check.h"

namespace tandem {
namespace {

constexpr int kBlock = 32;

template <class T>
T Load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

void DequantizeQ8(const std::byte* block, float* out) {
  const float scale = Float16ToFloat(Load<uint16_t>(block));
  for (int i = 0; i < kBlock; ++i) {
    out[i] = static_cast<float>(Load<int8_t>(block + 2 + i)) * scale;
  }
}

// The low halves of the 16 bytes are weights 0 to 15, the high halves 16 to 31; `weight` makes a
// float of each.
template <class Weight>
void UnpackQ4(const std::byte* packed, Weight weight, float* out) {
  for (int i = 0; i < kBlock / 2; ++i) {
    const auto byte = Load<uint8_t>(packed + i);
    out[i] = weight(byte & 0xf);
    out[i + kBlock / 2] = weight(byte >> 4);
  }
}

void DequantizeQ4WithoutMinimum(const std::byte* block, float* out) {
  const float scale = Float16ToFloat(Load<uint16_t>(block));
  UnpackQ4(
      block + 2, [scale](int q) { return static_cast<float>(q - 8) * scale; }, out);
}

void DequantizeQ4WithMinimum(const std::byte* block, float* out) {
  const float scale = Float16ToFloat(Load<uint16_t>(block));
  const float minimum = Float16ToFloat(Load<uint16_t>(block + 2));
  UnpackQ4(
      block + 4, [=](int q) { return static_cast<float>(q) * scale + minimum; }, out);
}

}  // namespace

float Float16ToFloat(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16;
  const uint32_t exponent = (bits >> 10) & 0x1f;
  const uint32_t fraction = bits & 0x3ff;
  if (exponent == 0) {  // zero or subnormal: the fraction counts units of 2^-24
    const float magnitude = std::ldexp(static_cast<float>(fraction), -24);
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
  }
  const uint32_t wide_exponent = exponent == 0x1f ? 0xff : exponent + (127 - 15);
  return std::bit_cast<float>(sign | (wide_exponent << 23) | (fraction << 13));
}

float BFloat16ToFloat(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

void DequantizeRow(const TensorView& tensor, int64_t row, absl::Span<float> out) {
  TANDEM_CHECK(row >= 0 && row < tensor.rows);
  TANDEM_CHECK(static_cast<int64_t>(out.size()) == tensor.cols);
  const int64_t block_bytes = DTypeBlockBytes(tensor.type);
  const int64_t blocks = tensor.cols / DTypeBlockSize(tensor.type);
  const std::byte* block = tensor.data.data() + row * blocks * block_bytes;
  for (int64_t i = 0; i < blocks; ++i, block += block_bytes) {
    switch (tensor.type) {
      case DType::kF32:
        out[i] = Load<float>(block);
        break;
      case DType::kF16:
        out[i] = Float16ToFloat(Load<uint16_t>(block));
        break;
      case DType::kBF16:
        out[i] = BFloat16ToFloat(Load<uint16_t>(block));
        break;
      case DType::kQ8_0:
        DequantizeQ8(block, &out[i * kBlock]);
        break;
      case DType::kQ4_0:
        DequantizeQ4WithoutMinimum(block, &out[i * kBlock]);
        break;
      case DType::kQ4_1:
        DequantizeQ4WithMinimum(block, &out[i * kBlock]);
        break;
    }
  }
}

}  // namespace tandem
