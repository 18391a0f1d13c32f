#include "kernels/cpu/packed_weights.h"

#include <bit>
#include <cstring>

#include "absl/memory/memory.h"
#include "absl/strings/str_format.h"

namespace tandem {
namespace {

using Kind = PackedWeights::Kind;

constexpr int kVector = 64;                 // bytes
constexpr int kNibbleScales = 4 * kVector;  // where a block's scales begin
constexpr int kNibbleMinima = kNibbleScales + 2 * PackedWeights::kGroup;
constexpr std::byte kSignBit{0x80};  // turned, it adds 128 to an int8
constexpr uint16_t kHalfMagnitude = 0x7fff;
constexpr uint16_t kHalfInfinity = 0x7c00;

Kind KindOf(WeightType type) {
  switch (type) {
    case WeightType::kF32:
      return Kind::kF32;
    case WeightType::kF16:
      return Kind::kF16;
    case WeightType::kBF16:
      return Kind::kBF16;
    case WeightType::kQ8_0:
      return Kind::kBytes;
    case WeightType::kQ4_0:
    case WeightType::kQ4_1:
      return Kind::kNibbles;
  }
  return Kind::kF32;
}

int64_t GroupBytes(Kind kind, int64_t cols) {
  int64_t bytes = 0;
  switch (kind) {
    case Kind::kNibbles:
      bytes = cols / 32 * PackedWeights::kNibbleBlock;
      break;
    case Kind::kBytes:
      bytes = (cols / 32 + 1) / 2 * PackedWeights::kBytePair;
      break;
    case Kind::kF32:
      bytes = cols * PackedWeights::kGroup * 4;
      break;
    case Kind::kF16:
    case Kind::kBF16:
      bytes = cols * PackedWeights::kGroup * 2;
      break;
  }
  return (bytes + 63) / 64 * 64;
}

// Where in a group the vectors and the scales of a block of bytes begin.
int64_t ByteVectors(int64_t b) {
  return b / 2 * PackedWeights::kBytePair + b % 2 * (8 * kVector + 4 * PackedWeights::kGroup);
}
int64_t ByteScales(int64_t b) {
  return b / 2 * PackedWeights::kBytePair + 8 * kVector + b % 2 * 2 * PackedWeights::kGroup;
}

uint16_t LoadU16(const std::byte* p) {
  uint16_t value;
  std::memcpy(&value, p, sizeof(value));
  return value;
}

void StoreU16(std::byte* p, uint16_t value) { std::memcpy(p, &value, sizeof(value)); }

}  // namespace

absl::StatusOr<std::unique_ptr<PackedWeights>> PackedWeights::Make(const WeightView& view,
                                                                   WeightMemory& memory) {
  if (absl::Status status = CheckWeightView(view); !status.ok()) return status;
  const Kind kind = KindOf(view.type);
  if (view.type == WeightType::kQ4_0) {
    const int64_t blocks = view.rows * (view.cols / 32);
    for (int64_t b = 0; b < blocks; ++b) {
      const uint16_t scale = LoadU16(view.data.data() + b * WeightBlockBytes(view.type));
      const uint16_t minimum = FloatToHalf(-8.0f * HalfToFloat(scale));
      if ((minimum & kHalfMagnitude) >= kHalfInfinity) {
        return absl::UnimplementedError(absl::StrFormat(
            "Q4_0 scale %g in block %d is too large to repack", HalfToFloat(scale), b));
      }
    }
  }
  auto packed =
      absl::WrapUnique(new PackedWeights(kind, view.rows, view.cols, GroupBytes(kind, view.cols)));
  packed->storage_ = memory.Allocate(packed->bytes());
  if (packed->storage_ == nullptr) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("no memory for a packed weight of %d bytes", packed->bytes()));
  }
  switch (kind) {
    case Kind::kNibbles:
      packed->PackNibbles(view);
      break;
    case Kind::kBytes:
      packed->PackBytes(view);
      break;
    default:
      packed->PackFloats(view);
  }
  return packed;
}

void PackedWeights::PackNibbles(const WeightView& view) {
  const bool has_min = view.type == WeightType::kQ4_1;
  const int source_bytes = WeightBlockBytes(view.type);
  const int64_t blocks = cols_ / 32;
  const std::byte* source = view.data.data();
  for (int64_t row = 0; row < rows_; ++row) {
    const int feature = row % kGroup;
    std::byte* target = storage_.get() + row / kGroup * group_bytes_;
    for (int64_t b = 0; b < blocks; ++b, source += source_bytes, target += kNibbleBlock) {
      const uint16_t scale = LoadU16(source);
      // Q4_0 is scale * (q - 8), and -8 * scale is exact in a half.
      const uint16_t minimum =
          has_min ? LoadU16(source + 2) : FloatToHalf(-8.0f * HalfToFloat(scale));
      const std::byte* nibbles = source + (has_min ? 4 : 2);
      for (int v = 0; v < 4; ++v) {
        std::memcpy(target + v * kVector + feature * 4, nibbles + v * 4, 4);
      }
      StoreU16(target + kNibbleScales + feature * 2, scale);
      StoreU16(target + kNibbleMinima + feature * 2, minimum);
    }
  }
}

void PackedWeights::PackBytes(const WeightView& view) {
  const int64_t blocks = cols_ / 32;
  const std::byte* source = view.data.data();
  for (int64_t row = 0; row < rows_; ++row) {
    const int feature = row % kGroup;
    std::byte* const target = storage_.get() + row / kGroup * group_bytes_;
    for (int64_t b = 0; b < blocks; ++b, source += 34) {
      StoreU16(target + ByteScales(b) + feature * 2, LoadU16(source));
      for (int i = 0; i < 32; ++i) {
        target[ByteVectors(b) + i / 4 * kVector + feature * 4 + i % 4] = source[2 + i] ^ kSignBit;
      }
    }
  }
}

void PackedWeights::PackFloats(const WeightView& view) {
  const int element = WeightBlockBytes(view.type);
  const std::byte* source = view.data.data();
  for (int64_t row = 0; row < rows_; ++row) {
    std::byte* target = storage_.get() + row / kGroup * group_bytes_ + row % kGroup * element;
    for (int64_t k = 0; k < cols_; ++k, source += element, target += kGroup * element) {
      std::memcpy(target, source, element);
    }
  }
}

void PackedWeights::ReadRow(int64_t row, float* out) const {
  const int feature = row % kGroup;
  const std::byte* base = group(row / kGroup);
  for (int64_t k = 0; k < cols_; ++k) {
    const int64_t b = k / 32;
    const int i = k % 32;
    switch (kind_) {
      case Kind::kNibbles: {
        const std::byte* block = base + b * kNibbleBlock;
        const int byte = std::to_integer<int>(block[i % 16 / 4 * kVector + feature * 4 + i % 4]);
        const int q = i < 16 ? byte & 15 : byte >> 4;
        out[k] = HalfToFloat(LoadU16(block + kNibbleScales + feature * 2)) * q +
                 HalfToFloat(LoadU16(block + kNibbleMinima + feature * 2));
        break;
      }
      case Kind::kBytes: {
        const std::byte stored = base[ByteVectors(b) + i / 4 * kVector + feature * 4 + i % 4];
        const auto q = static_cast<int8_t>(stored ^ kSignBit);
        out[k] = HalfToFloat(LoadU16(base + ByteScales(b) + feature * 2)) * q;
        break;
      }
      case Kind::kF32:
        std::memcpy(out + k, base + (k * kGroup + feature) * 4, 4);
        break;
      case Kind::kF16:
        out[k] = HalfToFloat(LoadU16(base + (k * kGroup + feature) * 2));
        break;
      case Kind::kBF16:
        out[k] = std::bit_cast<float>(
            static_cast<uint32_t>(LoadU16(base + (k * kGroup + feature) * 2)) << 16);
        break;
    }
  }
}

}  // namespace tandem
