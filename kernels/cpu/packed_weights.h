// PackedWeights: a weight matrix repacked so that one 512-bit vector, or a pair of 256-bit ones,
// serves 16 output features.
//
// Features are taken in groups of 16; the last group is padded with zeros. Groups lie one after the
// other, each 64-byte aligned, so a pass over the matrix reads memory in order. A group holds, for
// input features in rising order:
//   kNibbles  for each block of 32: 4 vectors of 64 bytes, byte (feature * 4 + i) of vector v
//   holding
//             weight 4v + i in its low and weight 16 + 4v + i in its high nibble; 16 half scales;
//             16 half minima. weight = scale * q + minimum
//   kBytes    for each two blocks: 8 vectors of the first one, 16 half scales of each, 8 vectors of
//             the second one; byte (feature * 4 + i) of vector v holds weight 4v + i plus 128, as
//             an unsigned byte. weight = scale * q. An odd last block has an empty partner. (With
//             all scales at the end of a group, decode read memory a quarter slower.)
//   floats    for each input feature: 16 elements
// Four bytes of a feature are what vpdpbusd, or maddubs and madd, sum up into one 32-bit lane.
// Immutable.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/cpu/weight_memory.h"

namespace tandem {

class PackedWeights final : public PackedMatrix {
 public:
  enum class Kind : uint8_t { kNibbles, kBytes, kF32, kF16, kBF16 };
  static constexpr int kGroup = 16;         // output features side by side
  static constexpr int kNibbleBlock = 320;  // bytes of one block of one group
  static constexpr int kBytePair = 1088;    // bytes of two blocks of one group

  // Takes its memory from `memory`. Returns the errors of CheckWeightView, UNIMPLEMENTED for a Q4_0
  // scale whose minimum no half can hold, and RESOURCE_EXHAUSTED.
  static absl::StatusOr<std::unique_ptr<PackedWeights>> Make(const WeightView& view,
                                                             WeightMemory& memory);

  int64_t rows() const override { return rows_; }
  int64_t cols() const override { return cols_; }
  int64_t bytes() const override { return groups() * group_bytes_; }

  Kind kind() const { return kind_; }
  bool quantized() const { return kind_ == Kind::kNibbles || kind_ == Kind::kBytes; }
  int64_t groups() const { return (rows_ + kGroup - 1) / kGroup; }
  const std::byte* group(int64_t index) const { return storage_.get() + index * group_bytes_; }

  // Writes one row as cols floats, the same values as DequantizeRow of the original view.
  void ReadRow(int64_t row, float* out) const;

 private:
  PackedWeights(Kind kind, int64_t rows, int64_t cols, int64_t group_bytes)
      : kind_(kind), rows_(rows), cols_(cols), group_bytes_(group_bytes) {}
  void PackNibbles(const WeightView& view);
  void PackBytes(const WeightView& view);
  void PackFloats(const WeightView& view);

  Kind kind_;
  int64_t rows_;
  int64_t cols_;
  int64_t group_bytes_;
  std::shared_ptr<std::byte> storage_;
};

}  // namespace tandem
