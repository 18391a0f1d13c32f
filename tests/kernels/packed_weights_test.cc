#include "kernels/cpu/packed_weights.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/kernels/random_weights.h"

namespace tandem {
namespace {

TEST(PackedWeightsTest, RowsReadBackExactly) {
  for (WeightType type : kAllWeightTypes) {
    for (int rows : {1, 7, 8, 21}) {
      const RandomWeights weights(type, rows, 96, rows);
      auto packed = PackedWeights::Make(weights.view());
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
  auto weights = std::make_unique<RandomWeights>(WeightType::kQ8_0, 3, 32, 1);
  std::vector<float> want(32), got(32);
  DequantizeRow(weights->view(), 2, want.data());
  auto packed = PackedWeights::Make(weights->view());
  weights.reset();
  ASSERT_TRUE(packed.ok());
  (*packed)->ReadRow(2, got.data());
  EXPECT_EQ(want, got);
}

TEST(PackedWeightsTest, ScaleThatCannotBeRepackedIsRefused) {
  RandomWeights weights(WeightType::kQ4_0, 2, 64, 1);
  RandomWeights::StoreHalf(9000.0f, weights.bytes.data() + 18);
  EXPECT_EQ(PackedWeights::Make(weights.view()).status().code(), absl::StatusCode::kUnimplemented);
}

TEST(PackedWeightsTest, WrongByteCountIsRefused) {
  RandomWeights weights(WeightType::kQ4_1, 2, 64, 1);
  weights.bytes.pop_back();
  EXPECT_EQ(PackedWeights::Make(weights.view()).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace tandem
