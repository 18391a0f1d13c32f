#include "kernels/cpu/packed_weights.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/kernels/random_weights.h"

namespace tandem {
namespace {

TEST(PackedWeightsTest, RowsReadBackExactly) {
  WeightMemory memory;
  for (WeightType type : kAllWeightTypes) {
    for (int rows : {1, 7, 8, 21}) {
      const RandomWeights weights(type, rows, 96, rows);
      auto packed = PackedWeights::Make(weights.view(), memory);
      ASSERT_TRUE(packed.ok()) << packed.status();
      EXPECT_EQ((*packed)->rows(), rows);
      EXPECT_EQ((*packed)->cols(), 96);
      EXPECT_GE((*packed)->bytes(), static_cast<int64_t>(weights.bytes.size()));
      std::vector<float> want(96), got(96);
      for (int row = 0; row < rows; ++row) {
        DequantizeRow(weights.view(), row, want.data());
        (*packed)->ReadRow(row, got.data());
        EXPECT_EQ(want, got) << WeightTypeName(type) << " row " << row << " of " << rows;
      }
    }
  }
}

TEST(PackedWeightsTest, DoesNotNeedTheViewAfterwards) {
  WeightMemory memory;
  auto weights = std::make_unique<RandomWeights>(WeightType::kQ8_0, 3, 32, 1);
  std::vector<float> want(32), got(32);
  DequantizeRow(weights->view(), 2, want.data());
  auto packed = PackedWeights::Make(weights->view(), memory);
  weights.reset();
  ASSERT_TRUE(packed.ok());
  (*packed)->ReadRow(2, got.data());
  EXPECT_EQ(want, got);
}

TEST(PackedWeightsTest, MemoryOutlivesWhatHandedItOut) {
  const RandomWeights weights(WeightType::kQ4_1, 3, 32, 1);
  std::unique_ptr<PackedWeights> packed;
  {
    WeightMemory memory;
    packed = std::move(PackedWeights::Make(weights.view(), memory).value());
  }
  std::vector<float> want(32), got(32);
  DequantizeRow(weights.view(), 2, want.data());
  packed->ReadRow(2, got.data());
  EXPECT_EQ(want, got);
}

TEST(WeightMemoryTest, PiecesAreAlignedZeroedAndApart) {
  WeightMemory memory;
  std::vector<std::shared_ptr<std::byte>> pieces;
  // The last ones do not fit in what is left of a chunk, and in no chunk at all.
  const std::vector<int64_t> sizes = {1, 64, 1000, 20 << 20, 20 << 20, 40 << 20};
  for (int64_t size : sizes) {
    pieces.push_back(memory.Allocate(size));
    ASSERT_NE(pieces.back(), nullptr);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(pieces.back().get()) % 64, 0u);
    EXPECT_EQ(*pieces.back(), std::byte{0});
    EXPECT_EQ(pieces.back().get()[size - 1], std::byte{0});
    std::fill_n(pieces.back().get(), size, static_cast<std::byte>(pieces.size()));
  }
  for (size_t i = 0; i < pieces.size(); ++i) {
    EXPECT_EQ(*pieces[i], static_cast<std::byte>(i + 1));
    EXPECT_EQ(pieces[i].get()[sizes[i] - 1], static_cast<std::byte>(i + 1));
  }
}

TEST(PackedWeightsTest, ScaleThatCannotBeRepackedIsRefused) {
  WeightMemory memory;
  RandomWeights weights(WeightType::kQ4_0, 2, 64, 1);
  RandomWeights::StoreHalf(9000.0f, weights.bytes.data() + 18);
  EXPECT_EQ(PackedWeights::Make(weights.view(), memory).status().code(),
            absl::StatusCode::kUnimplemented);
}

TEST(PackedWeightsTest, WrongByteCountIsRefused) {
  WeightMemory memory;
  RandomWeights weights(WeightType::kQ4_1, 2, 64, 1);
  weights.bytes.pop_back();
  EXPECT_EQ(PackedWeights::Make(weights.view(), memory).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace tandem
