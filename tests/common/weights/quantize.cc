#include "tests/common/weights/quantize.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "common/base/check.h"
#include "common/weights/dequantize.h"

namespace tandem {
namespace {

constexpr int kBlock = 32;

template <class T>
void Append(std::vector<std::byte>& out, T value) {
  const size_t end = out.size();
  out.resize(end + sizeof(T));
  std::memcpy(out.data() + end, &value, sizeof(T));
}

// Appends a 16-bit scale and returns the value that a reader will see.
float AppendScale(std::vector<std::byte>& out, float scale) {
  const uint16_t half = FloatToFloat16(scale);
  Append(out, half);
  return Float16ToFloat(half);
}

int Quantize(float value, float scale, int low, int high) {
  if (scale == 0.0f) return std::clamp(0, low, high);
  return std::clamp(static_cast<int>(std::lround(value / scale)), low, high);
}

void AppendNibbles(std::vector<std::byte>& out, absl::Span<const int> nibbles) {
  for (int i = 0; i < kBlock / 2; ++i) {
    Append(out, static_cast<uint8_t>(nibbles[i] | (nibbles[i + kBlock / 2] << 4)));
  }
}

void EncodeBlock(DType type, absl::Span<const float> block, std::vector<std::byte>& out) {
  const auto [min, max] = std::minmax_element(block.begin(), block.end());
  const float largest = -*min > *max ? *min : *max;  // by magnitude, with its sign
  int quants[kBlock];
  if (type == DType::kQ8_0) {
    const float scale = AppendScale(out, std::fabs(largest) / 127.0f);
    for (float value : block) {
      Append(out, static_cast<int8_t>(Quantize(value, scale, -127, 127)));
    }
  } else if (type == DType::kQ4_0) {
    // Of -8..7 the value furthest from zero gets -8.
    const float scale = AppendScale(out, largest / -8.0f);
    for (int i = 0; i < kBlock; ++i) quants[i] = Quantize(block[i], scale, -8, 7) + 8;
    AppendNibbles(out, quants);
  } else {
    const float scale = AppendScale(out, (*max - *min) / 15.0f);
    const float minimum = AppendScale(out, *min);
    for (int i = 0; i < kBlock; ++i) quants[i] = Quantize(block[i] - minimum, scale, 0, 15);
    AppendNibbles(out, quants);
  }
}

}  // namespace

uint16_t FloatToFloat16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000);
  const float magnitude = std::fabs(value);
  if (std::isnan(value)) return sign | 0x7e00;
  if (magnitude >= 65520.0f) return sign | 0x7c00;
  if (magnitude < std::ldexp(1.0f, -14)) {  // subnormal: count units of 2^-24
    return sign | static_cast<uint16_t>(std::nearbyint(std::ldexp(magnitude, 24)));
  }
  uint32_t rounded = std::bit_cast<uint32_t>(magnitude);
  rounded += 0xfff + ((rounded >> 13) & 1);  // a carry into the exponent is right
  return sign | static_cast<uint16_t>((rounded >> 13) - ((127 - 15) << 10));
}

uint16_t FloatToBFloat16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value)) return static_cast<uint16_t>((bits >> 16) | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

std::vector<std::byte> EncodeWeights(DType type, absl::Span<const float> weights) {
  TANDEM_CHECK(weights.size() % DTypeBlockSize(type) == 0);
  std::vector<std::byte> out;
  out.reserve(weights.size() / DTypeBlockSize(type) * DTypeBlockBytes(type));
  if (DTypeBlockSize(type) == kBlock) {
    for (size_t i = 0; i < weights.size(); i += kBlock) {
      EncodeBlock(type, weights.subspan(i, kBlock), out);
    }
    return out;
  }
  for (float weight : weights) {
    if (type == DType::kF32) Append(out, weight);
    if (type == DType::kF16) Append(out, FloatToFloat16(weight));
    if (type == DType::kBF16) Append(out, FloatToBFloat16(weight));
  }
  return out;
}

}  // namespace tandem
