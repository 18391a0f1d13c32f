#include "common/weights/dequantize.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/weights/quantize.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;

// One row of one block: the leading 16-bit floats, then `quants`.
std::vector<float> OneBlock(DType type, std::vector<float> halves, std::vector<uint8_t> quants) {
  std::vector<std::byte> bytes;
  for (float value : halves) {
    const uint16_t half = FloatToFloat16(value);
    bytes.push_back(static_cast<std::byte>(half & 0xff));
    bytes.push_back(static_cast<std::byte>(half >> 8));
  }
  for (uint8_t quant : quants) bytes.push_back(static_cast<std::byte>(quant));
  EXPECT_EQ(bytes.size(), static_cast<size_t>(DTypeBlockBytes(type)));
  TensorView view{"t", type, 1, 32, bytes};
  std::vector<float> row(32);
  DequantizeRow(view, 0, absl::MakeSpan(row));
  return row;
}

TEST(HalfTest, KnownValues) {
  EXPECT_EQ(Float16ToFloat(0x0000), 0.0f);
  EXPECT_TRUE(std::signbit(Float16ToFloat(0x8000)));
  EXPECT_EQ(Float16ToFloat(0x3c00), 1.0f);
  EXPECT_EQ(Float16ToFloat(0xc000), -2.0f);
  EXPECT_EQ(Float16ToFloat(0x7bff), 65504.0f);
  EXPECT_EQ(Float16ToFloat(0x0400), std::ldexp(1.0f, -14));
  EXPECT_EQ(Float16ToFloat(0x0001), std::ldexp(1.0f, -24));
  EXPECT_EQ(Float16ToFloat(0x83ff), -std::ldexp(1023.0f, -24));
  EXPECT_EQ(Float16ToFloat(0x7c00), std::numeric_limits<float>::infinity());
  EXPECT_EQ(Float16ToFloat(0xfc00), -std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isnan(Float16ToFloat(0x7e01)));
}

TEST(HalfTest, EveryValueIsTheFormulaAndSurvivesEncoding) {
  for (uint32_t bits = 0; bits <= 0xffff; ++bits) {
    const float value = Float16ToFloat(static_cast<uint16_t>(bits));
    const int exponent = static_cast<int>((bits >> 10) & 0x1f);
    if (exponent == 0x1f && (bits & 0x3ff) != 0) {
      ASSERT_TRUE(std::isnan(value)) << bits;
      continue;
    }
    ASSERT_EQ(FloatToFloat16(value), bits);
    if (exponent == 0x1f) continue;
    const double significand = (bits & 0x3ff) + (exponent == 0 ? 0 : 1024);
    const double expected = std::ldexp(significand, std::max(exponent, 1) - 25);
    ASSERT_EQ(value, (bits & 0x8000) != 0 ? -expected : expected) << bits;
  }
}

TEST(BFloat16Test, IsTheUpperHalfOfAFloat) {
  EXPECT_EQ(BFloat16ToFloat(0x3f80), 1.0f);
  EXPECT_EQ(BFloat16ToFloat(0xc0a0), -5.0f);
  EXPECT_EQ(FloatToBFloat16(1.00390625f), 0x3f80);  // a tie goes to even
  EXPECT_EQ(FloatToBFloat16(1.01171875f), 0x3f82);
}

TEST(DequantizeRowTest, Q8MultipliesEachByteByTheScale) {
  std::vector<uint8_t> quants(32, 0);
  quants[0] = 127;
  quants[1] = 0x80;   // -128
  quants[31] = 0xff;  // -1
  const std::vector<float> row = OneBlock(DType::kQ8_0, {0.25f}, quants);
  EXPECT_EQ(row[0], 31.75f);
  EXPECT_EQ(row[1], -32.0f);
  EXPECT_EQ(row[2], 0.0f);
  EXPECT_EQ(row[31], -0.25f);
}

TEST(DequantizeRowTest, Q4WithoutMinimumCentresOnEight) {
  std::vector<uint8_t> quants(16, 0x88);
  quants[0] = 0xf0;
  quants[15] = 0x19;
  const std::vector<float> row = OneBlock(DType::kQ4_0, {0.5f}, quants);
  EXPECT_EQ(row[0], -4.0f);
  EXPECT_EQ(row[16], 3.5f);
  EXPECT_EQ(row[15], 0.5f);
  EXPECT_EQ(row[31], -3.5f);
  EXPECT_EQ(row[1], 0.0f);
}

TEST(DequantizeRowTest, Q4WithoutMinimumKeepsTheSignOfZero) {
  const std::vector<float> row = OneBlock(DType::kQ4_0, {-0.5f}, std::vector<uint8_t>(16, 0x88));
  EXPECT_TRUE(std::signbit(row[0]));
  EXPECT_TRUE(std::signbit(row[31]));
}

TEST(DequantizeRowTest, Q4WithMinimumRoundsProductThenSum) {
  std::vector<uint8_t> quants(16, 0x00);
  quants[0] = 0xf3;
  const float scale = Float16ToFloat(0x2e66);  // about 0.1
  const float minimum = Float16ToFloat(0xb266);
  const std::vector<float> row = OneBlock(DType::kQ4_1, {scale, minimum}, quants);
  EXPECT_EQ(row[0], scale * 3.0f + minimum);
  EXPECT_EQ(row[16], scale * 15.0f + minimum);
  EXPECT_EQ(row[1], minimum);
}

TEST(DequantizeRowTest, PicksTheRow) {
  std::vector<float> weights(3 * 64);
  for (size_t i = 0; i < weights.size(); ++i) weights[i] = static_cast<float>(i) / 4;
  for (DType type : {DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0}) {
    const std::vector<std::byte> bytes = EncodeWeights(type, weights);
    const TensorView view{"t", type, 3, 64, bytes};
    std::vector<float> row(64);
    DequantizeRow(view, 2, absl::MakeSpan(row));
    for (int i = 0; i < 64; ++i) EXPECT_NEAR(row[i], weights[128 + i], 0.2f) << DTypeName(type);
  }
}

TEST(DTypeTest, BlocksHaveTheSizesOfTheFormat) {
  const auto bytes_of = [](DType type) {
    return std::vector<int>{DTypeBlockSize(type), DTypeBlockBytes(type)};
  };
  EXPECT_THAT(bytes_of(DType::kF32), ElementsAre(1, 4));
  EXPECT_THAT(bytes_of(DType::kF16), ElementsAre(1, 2));
  EXPECT_THAT(bytes_of(DType::kBF16), ElementsAre(1, 2));
  EXPECT_THAT(bytes_of(DType::kQ8_0), ElementsAre(32, 34));
  EXPECT_THAT(bytes_of(DType::kQ4_0), ElementsAre(32, 18));
  EXPECT_THAT(bytes_of(DType::kQ4_1), ElementsAre(32, 20));
}

}  // namespace
}  // namespace tandem
