#include "kernels/weight_view.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/kernels/random_weights.h"

namespace tandem {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(HalfTest, EveryHalfSurvivesARoundTrip) {
  for (uint32_t half = 0; half < 0x10000; ++half) {
    const float value = HalfToFloat(static_cast<uint16_t>(half));
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(HalfToFloat(FloatToHalf(value)))) << half;
    } else {
      EXPECT_EQ(FloatToHalf(value), half);
    }
  }
}

TEST(HalfTest, RoundsToNearestAndTiesToEven) {
  for (uint16_t half = 0; half < 0x7bff; ++half) {
    const float low = HalfToFloat(half), high = HalfToFloat(half + 1);
    const float middle = low + (high - low) / 2;  // exact: floats have 13 more bits
    EXPECT_EQ(FloatToHalf(middle), half % 2 == 0 ? half : half + 1);
    EXPECT_EQ(FloatToHalf(std::nextafter(middle, 0.0f)), half);
    EXPECT_EQ(FloatToHalf(std::nextafter(middle, high)), half + 1);
    EXPECT_EQ(FloatToHalf(-middle), (half % 2 == 0 ? half : half + 1) | 0x8000);
  }
}

TEST(HalfTest, TooLargeBecomesInfinity) {
  EXPECT_EQ(FloatToHalf(65519.0f), 0x7bff);
  EXPECT_EQ(FloatToHalf(65520.0f), 0x7c00);
  EXPECT_EQ(FloatToHalf(-std::numeric_limits<float>::infinity()), 0xfc00);
}

TEST(WeightViewTest, BlocksAreReadAsGgufDefinesThem) {
  std::vector<std::byte> q4_1(20);
  RandomWeights::StoreHalf(0.5f, q4_1.data());
  RandomWeights::StoreHalf(-1.0f, q4_1.data() + 2);
  q4_1[4] = std::byte{0xf3};  // weight 0 is 3, weight 16 is 15
  float out[32];
  DequantizeRow({WeightType::kQ4_1, 1, 32, q4_1}, 0, out);
  EXPECT_EQ(out[0], 0.5f);
  EXPECT_EQ(out[16], 6.5f);
  EXPECT_EQ(out[1], -1.0f);

  std::vector<std::byte> q4_0(18);
  RandomWeights::StoreHalf(2.0f, q4_0.data());
  q4_0[2 + 15] = std::byte{0x9a};  // weight 15 is 10, weight 31 is 9
  DequantizeRow({WeightType::kQ4_0, 1, 32, q4_0}, 0, out);
  EXPECT_EQ(out[15], 4.0f);
  EXPECT_EQ(out[31], 2.0f);
  EXPECT_EQ(out[0], -16.0f);

  std::vector<std::byte> q8_0(34);
  RandomWeights::StoreHalf(0.25f, q8_0.data());
  q8_0[2 + 31] = std::byte{0x80};
  DequantizeRow({WeightType::kQ8_0, 1, 32, q8_0}, 0, out);
  EXPECT_EQ(out[31], -32.0f);
  EXPECT_EQ(out[0], 0.0f);
}

TEST(WeightViewTest, RowsAreFoundByTheirStride) {
  const uint16_t bf16[] = {0x3f80, 0x4000, 0x4040, 0xc080};  // 1, 2, 3, -4
  const WeightView view{WeightType::kBF16, 2, 2,
                        absl::MakeSpan(reinterpret_cast<const std::byte*>(bf16), sizeof(bf16))};
  std::vector<float> out(2);
  DequantizeRow(view, 1, out.data());
  EXPECT_THAT(out, ElementsAre(3.0f, -4.0f));
}

TEST(WeightViewTest, ImpossibleShapesAreRefused) {
  std::vector<std::byte> bytes(1000);
  const absl::Span<const std::byte> all = bytes;
  EXPECT_FALSE(CheckWeightView({WeightType::kF32, 0, 4, all.first(0)}).ok());
  EXPECT_FALSE(CheckWeightView({WeightType::kF32, -1, 4, all.first(16)}).ok());
  EXPECT_FALSE(CheckWeightView({WeightType::kF32, int64_t{1} << 60, 64, all}).ok());
  EXPECT_THAT(std::string(CheckWeightView({WeightType::kQ4_1, 1, 48, all.first(30)}).message()),
              HasSubstr("Q4_1 weight has impossible shape 1 x 48"));
  EXPECT_THAT(std::string(CheckWeightView({WeightType::kQ8_0, 2, 32, all.first(67)}).message()),
              HasSubstr("needs 68 bytes, has 67"));
  EXPECT_TRUE(CheckWeightView({WeightType::kQ8_0, 2, 32, all.first(68)}).ok());
}

}  // namespace
}  // namespace tandem
