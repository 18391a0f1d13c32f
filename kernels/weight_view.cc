#include "kernels/weight_view.h"

#include <bit>
#include <cstring>
#include <limits>

#include "absl/strings/str_format.h"

namespace tandem {
namespace {

uint16_t LoadU16(const std::byte* p) {
  uint16_t value;
  std::memcpy(&value, p, sizeof(value));
  return value;
}

int8_t LoadI8(const std::byte* p) { return static_cast<int8_t>(*p); }

// A block of 32 as GGUF defines it: Q8_0 is {half d; int8 q[32]}, Q4_0 {half d; nibbles[16]}, Q4_1
// {half d, m; nibbles[16]}, where byte i holds weight i in its low and weight i + 16 in its high
// nibble.
void DequantizeBlock(WeightType type, const std::byte* block, float* out) {
  const float d = HalfToFloat(LoadU16(block));
  if (type == WeightType::kQ8_0) {
    for (int i = 0; i < 32; ++i) out[i] = d * LoadI8(block + 2 + i);
    return;
  }
  const bool has_min = type == WeightType::kQ4_1;
  const float min = has_min ? HalfToFloat(LoadU16(block + 2)) : 0.0f;
  const int zero = has_min ? 0 : 8;
  const std::byte* nibbles = block + (has_min ? 4 : 2);
  for (int i = 0; i < 16; ++i) {
    const int byte = std::to_integer<int>(nibbles[i]);
    out[i] = d * ((byte & 15) - zero) + min;
    out[i + 16] = d * ((byte >> 4) - zero) + min;
  }
}

}  // namespace

absl::string_view WeightTypeName(WeightType type) {
  switch (type) {
    case WeightType::kF32:
      return "F32";
    case WeightType::kF16:
      return "F16";
    case WeightType::kBF16:
      return "BF16";
    case WeightType::kQ8_0:
      return "Q8_0";
    case WeightType::kQ4_0:
      return "Q4_0";
    case WeightType::kQ4_1:
      return "Q4_1";
  }
  return "unknown";
}

int WeightBlockSize(WeightType type) {
  switch (type) {
    case WeightType::kF32:
    case WeightType::kF16:
    case WeightType::kBF16:
      return 1;
    default:
      return 32;
  }
}

int WeightBlockBytes(WeightType type) {
  switch (type) {
    case WeightType::kF32:
      return 4;
    case WeightType::kF16:
    case WeightType::kBF16:
      return 2;
    case WeightType::kQ8_0:
      return 34;
    case WeightType::kQ4_0:
      return 18;
    case WeightType::kQ4_1:
      return 20;
  }
  return 0;
}

absl::Status CheckWeightView(const WeightView& view) {
  // Bounds the product below, and lets kernels index rows and columns with int.
  constexpr int64_t kMaxSide = std::numeric_limits<int32_t>::max() / 64;
  const int block = WeightBlockSize(view.type);
  if (view.rows < 1 || view.cols < 1 || view.rows > kMaxSide || view.cols > kMaxSide ||
      view.cols % block != 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s weight has impossible shape %d x %d", WeightTypeName(view.type), view.rows, view.cols));
  }
  const uint64_t want = static_cast<uint64_t>(view.rows) *
                        static_cast<uint64_t>(view.cols / block) *
                        static_cast<uint64_t>(WeightBlockBytes(view.type));
  if (view.data.size() != want) {
    return absl::InvalidArgumentError(absl::StrFormat("%s weight of %d x %d needs %d bytes, has %d",
                                                      WeightTypeName(view.type), view.rows,
                                                      view.cols, want, view.data.size()));
  }
  return absl::OkStatus();
}

void DequantizeRow(const WeightView& view, int64_t row, float* out) {
  const int block = WeightBlockSize(view.type);
  const int bytes = WeightBlockBytes(view.type);
  const int64_t blocks = view.cols / block;
  const std::byte* p = view.data.data() + row * blocks * bytes;
  for (int64_t b = 0; b < blocks; ++b, p += bytes, out += block) {
    switch (view.type) {
      case WeightType::kF32:
        std::memcpy(out, p, 4);
        break;
      case WeightType::kF16:
        *out = HalfToFloat(LoadU16(p));
        break;
      case WeightType::kBF16:
        *out = std::bit_cast<float>(static_cast<uint32_t>(LoadU16(p)) << 16);
        break;
      default:
        DequantizeBlock(view.type, p, out);
    }
  }
}

float HalfToFloat(uint16_t half) {
  const uint32_t sign = (half & 0x8000u) << 16;
  const uint32_t exponent = (half >> 10) & 0x1fu;
  const uint32_t mantissa = half & 0x3ffu;
  if (exponent == 0) {  // zero or subnormal: mantissa * 2^-24, exact in float
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | sign);
  }
  if (exponent == 31) {  // infinity, or NaN made quiet as F16C does
    return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13) |
                                (mantissa != 0 ? 0x400000u : 0u));
  }
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

uint16_t FloatToHalf(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) {
    return static_cast<uint16_t>(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
  }
  if (magnitude >= 0x47800000u) return static_cast<uint16_t>(sign | 0x7c00u);  // >= 2^16
  if (magnitude < 0x38800000u) {
    // Below 2^-14: adding 0.5 makes the float adder round to multiples of 2^-24, to nearest even.
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3f000000u));
  }
  // Rounding may carry into the exponent, up to infinity, which is what rounding to nearest asks
  // for.
  const uint32_t odd = (magnitude >> 13) & 1u;
  return static_cast<uint16_t>(sign | ((magnitude - 0x38000000u + 0xfffu + odd) >> 13));
}

}  // namespace tandem
