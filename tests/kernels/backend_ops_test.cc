// Each operation on its own: the fast backend against the reference, and both against what the
// header promises.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/kernels/backend_under_test.h"
#include "tests/kernels/random_weights.h"
#include "tests/kernels/tiny_model.h"

namespace tandem {
namespace {

std::unique_ptr<FloatBuffer> Upload(Backend& backend, const std::vector<float>& values) {
  auto buffer = backend.AllocateFloats(values.size());
  std::copy(values.begin(), values.end(), buffer->data());
  return buffer;
}

std::vector<float> Download(Backend& backend, const FloatBuffer& buffer) {
  std::vector<float> values(buffer.size());
  backend.CopyToHost(buffer.data(), absl::MakeSpan(values));
  return values;
}

std::vector<float> Multiply(Backend& backend, const WeightView& view, const std::vector<float>& x,
                            int rows) {
  auto weight = backend.Pack(view);
  EXPECT_TRUE(weight.ok()) << weight.status();
  auto out = backend.AllocateFloats(rows * view.rows);
  backend.MatMul(Upload(backend, x)->data(), rows, {{weight->get(), out->data()}});
  return Download(backend, *out);
}

double RootMeanSquare(const std::vector<float>& values) {
  double sum = 0;
  for (float value : values) sum += static_cast<double>(value) * value;
  return std::sqrt(sum / values.size());
}

double LargestDifference(const std::vector<float>& a, const std::vector<float>& b) {
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    largest = std::max(largest, std::abs(static_cast<double>(a[i]) - b[i]));
  }
  return largest;
}

// By instruction set.
class FastBackendTest : public testing::TestWithParam<std::string> {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(FastBackendTest);
INSTANTIATE_TEST_SUITE_P(Isas, FastBackendTest, testing::ValuesIn(FastBackends()),
                         [](const auto& info) { return info.param; });

TEST_P(FastBackendTest, MatMulIsCloseToReference) {
  BackendUnderTest reference("reference", 1), fast(GetParam(), 2);
  for (WeightType type : kAllWeightTypes) {
    const bool quantized = WeightBlockSize(type) == 32;
    for (int features : {1, 8, 13, 100}) {
      for (int cols : {32, 576, quantized ? 96 : 77}) {
        for (int rows : {1, 2, 3, 5, 9, 67}) {
          const RandomWeights weights(type, features, cols, features + cols);
          const auto x = RandomFloats(int64_t{rows} * cols, rows);
          const auto want = Multiply(*reference, weights.view(), x, rows);
          const auto got = Multiply(*fast, weights.view(), x, rows);
          // int8 activations are off by at most max / 254 each, about 1 % of a standard deviation;
          // those errors add up like noise. Float weights only differ in rounding.
          const double typical = std::sqrt(cols) * 0.1;
          const double tolerance = quantized ? 0.08 * typical + 0.03 : 1e-5 * typical + 1e-6;
          EXPECT_LT(LargestDifference(want, got), tolerance)
              << WeightTypeName(type) << " " << features << " x " << cols << ", rows " << rows;
        }
      }
    }
  }
}

// The int8 path is exact when the activations are whole numbers that fill the range, so this finds
// any mix-up of features, blocks or nibbles, and the largest sums the 16-bit accumulators can meet.
TEST_P(FastBackendTest, MatMulOfExtremeIntegersIsExact) {
  BackendUnderTest reference("reference", 1), fast(GetParam(), 1);
  for (WeightType type : {WeightType::kQ4_0, WeightType::kQ4_1, WeightType::kQ8_0}) {
    for (int fill : {0x00, 0x77, 0x80, 0xff}) {
      RandomWeights weights(type, 9, 64, 1);
      const int block_bytes = WeightBlockBytes(type);
      for (size_t at = 0; at < weights.bytes.size(); at += block_bytes) {
        std::fill_n(weights.bytes.data() + at, block_bytes, static_cast<std::byte>(fill));
        RandomWeights::StoreHalf(1.0f, weights.bytes.data() + at);
        if (type == WeightType::kQ4_1)
          RandomWeights::StoreHalf(2.0f, weights.bytes.data() + at + 2);
      }
      for (float sign : {1.0f, -1.0f}) {
        const std::vector<float> x(64, sign * 127.0f);
        EXPECT_EQ(Multiply(*reference, weights.view(), x, 1), Multiply(*fast, weights.view(), x, 1))
            << WeightTypeName(type) << " filled with " << fill;
      }
    }
  }
}

// Rows as trained models have them: one input feature far above the others, in a block that differs
// from row to row.
std::vector<float> RowsWithOutliers(int rows, int cols) {
  std::vector<float> x = RandomFloats(int64_t{rows} * cols, 5);
  for (int r = 0; r < rows; ++r) {
    if (r % 4 != 2) x[r * cols + r * 37 % cols] = 200.0f;
  }
  return x;
}

// Eight bits would round the outlier's neighbours to multiples of 200 / 127, which is off by half a
// standard deviation each.
TEST_P(FastBackendTest, OutliersDoNotCostTheirNeighboursPrecision) {
  BackendUnderTest reference("reference", 1), fast(GetParam(), 1);
  constexpr int kRows = 7, kCols = 576;
  const auto x = RowsWithOutliers(kRows, kCols);
  for (WeightType type : {WeightType::kQ4_0, WeightType::kQ4_1, WeightType::kQ8_0}) {
    const RandomWeights weights(type, 20, kCols, 6);
    const auto plain = RandomFloats(int64_t{kRows} * kCols, 5);
    const auto error = [&](const std::vector<float>& in) {
      return LargestDifference(Multiply(*reference, weights.view(), in, kRows),
                               Multiply(*fast, weights.view(), in, kRows));
    };
    EXPECT_LT(error(x), 1.5 * error(plain)) << WeightTypeName(type);
  }
}

TEST_P(FastBackendTest, RowsWithOutliersDoNotDependOnTheirNeighbours) {
  BackendUnderTest fast(GetParam(), 1);
  constexpr int kRows = 23, kCols = 288, kFeatures = 21;
  const auto x = RowsWithOutliers(kRows, kCols);
  for (WeightType type : {WeightType::kQ4_0, WeightType::kQ4_1, WeightType::kQ8_0}) {
    const RandomWeights weights(type, kFeatures, kCols, 6);
    const auto together = Multiply(*fast, weights.view(), x, kRows);
    for (int r = 0; r < kRows; ++r) {
      const std::vector<float> row(x.begin() + r * kCols, x.begin() + (r + 1) * kCols);
      const auto alone = Multiply(*fast, weights.view(), row, 1);
      EXPECT_EQ(
          0, std::memcmp(alone.data(), together.data() + r * kFeatures, kFeatures * sizeof(float)))
          << WeightTypeName(type) << " row " << r;
    }
  }
}

TEST_P(FastBackendTest, ZeroAndTinyActivationsStayFinite) {
  BackendUnderTest fast(GetParam(), 1);
  const RandomWeights weights(WeightType::kQ4_1, 8, 64, 1);
  for (float value : {0.0f, std::numeric_limits<float>::denorm_min(), 1e-38f, 1e-20f}) {
    for (float result : Multiply(*fast, weights.view(), std::vector<float>(64, value), 1)) {
      EXPECT_TRUE(std::isfinite(result)) << value;
    }
  }
}

TEST_P(FastBackendTest, WholeForwardPassIsCloseToReference) {
  for (KvType kv : {KvType::kF16, KvType::kF32}) {
    TinyShape shape;
    shape.weights = WeightType::kF32;  // so that only the order of sums differs
    shape.kv = kv;
    std::vector<TinyModel::Row> rows;
    for (int p = 0; p < 300; ++p) rows.push_back({0, p});
    std::vector<std::vector<std::vector<float>>> results;
    for (const std::string& name : {std::string("reference"), GetParam()}) {
      BackendUnderTest backend(name, 2);
      TinyModel model(*backend, shape, 1, 300, 1);
      results.push_back(model.Step(rows, [](int) { return 0; }));
    }
    for (size_t r = 0; r < rows.size(); ++r) {
      const double scale = RootMeanSquare(results[0][r]);
      ASSERT_LT(LargestDifference(results[0][r], results[1][r]), 2e-3 * scale) << "row " << r;
    }
  }
}

class BackendOpsTest : public testing::TestWithParam<std::string> {
 protected:
  BackendUnderTest backend_{GetParam(), 2};
};

TEST_P(BackendOpsTest, ProfileTellsTheNumbersApart) {
  EXPECT_EQ(backend_->profile(), GetParam() == "reference" ? "reference" : "cpu-int8");
}

TEST_P(BackendOpsTest, EmbedRowsGivesTheWeightsThemselves) {
  for (WeightType type : kAllWeightTypes) {
    const RandomWeights weights(type, 11, 64, 3);
    auto table = backend_->Pack(weights.view());
    ASSERT_TRUE(table.ok()) << table.status();
    auto out = backend_->AllocateFloats(3 * 64);
    backend_->EmbedRows(**table, {10, 0, 10}, out->data());
    std::vector<float> want(3 * 64);
    DequantizeRow(weights.view(), 10, want.data());
    DequantizeRow(weights.view(), 0, want.data() + 64);
    DequantizeRow(weights.view(), 10, want.data() + 128);
    EXPECT_EQ(Download(*backend_, *out), want) << WeightTypeName(type);
  }
}

TEST_P(BackendOpsTest, RmsNormMatchesItsDefinition) {
  for (int dim : {1, 7, 8, 20, 31, 576}) {
    constexpr int kRows = 3;
    const auto x = RandomFloats(kRows * dim, 1, 3.0f), weight = RandomFloats(dim, 2);
    auto in = Upload(*backend_, x), scale = Upload(*backend_, weight);
    backend_->RmsNorm(in->data(), scale->data(), kRows, dim, 1e-5f, in->data());
    const auto got = Download(*backend_, *in);
    for (int r = 0; r < kRows; ++r) {
      double squares = 0;
      for (int i = 0; i < dim; ++i) squares += static_cast<double>(x[r * dim + i]) * x[r * dim + i];
      for (int i = 0; i < dim; ++i) {
        const double want = x[r * dim + i] / std::sqrt(squares / dim + 1e-5) * weight[i];
        EXPECT_NEAR(got[r * dim + i], want, 1e-5 * std::abs(want) + 1e-7);
      }
    }
  }
}

TEST_P(BackendOpsTest, SiluMulMatchesItsDefinition) {
  auto gate = RandomFloats(1003, 1, 8.0f);
  gate[0] = -200.0f;
  gate[1] = 200.0f;
  gate[2] = 0.0f;
  const auto up = RandomFloats(1003, 2);
  auto a = Upload(*backend_, gate), b = Upload(*backend_, up);
  backend_->SiluMul(a->data(), b->data(), 1003, b->data());
  const auto got = Download(*backend_, *b);
  for (size_t i = 0; i < gate.size(); ++i) {
    const double want = gate[i] / (1.0 + std::exp(-static_cast<double>(gate[i]))) * up[i];
    EXPECT_NEAR(got[i], want, 2e-6 * std::abs(want) + 1e-30) << gate[i];
  }
}

TEST_P(BackendOpsTest, AddAndGatherRows) {
  auto x = Upload(*backend_, {1, 2, 3, 4, 5, 6});
  backend_->Add(Upload(*backend_, {10, 20, 30, 40, 50, 60})->data(), 5, x->data());
  auto out = backend_->AllocateFloats(4);
  backend_->GatherRows(x->data(), 2, {2, 0}, out->data());
  EXPECT_THAT(Download(*backend_, *out), testing::ElementsAre(55, 6, 11, 22));
}

TEST_P(BackendOpsTest, SeveralWeightsGiveTheSameAsOneAtATime) {
  const RandomWeights a(WeightType::kQ4_1, 40, 64, 1), b(WeightType::kF16, 9, 64, 2),
      c(WeightType::kQ8_0, 100, 64, 3);
  const auto x = RandomFloats(5 * 64, 4);
  std::vector<std::unique_ptr<PackedMatrix>> packed;
  std::vector<std::unique_ptr<FloatBuffer>> outs;
  std::vector<MatMulOutput> outputs;
  for (const RandomWeights* weights : {&a, &b, &c}) {
    packed.push_back(std::move(backend_->Pack(weights->view()).value()));
    outs.push_back(backend_->AllocateFloats(5 * weights->rows));
    outputs.push_back({packed.back().get(), outs.back()->data()});
  }
  backend_->MatMul(Upload(*backend_, x)->data(), 5, outputs);
  EXPECT_EQ(Download(*backend_, *outs[0]), Multiply(*backend_, a.view(), x, 5));
  EXPECT_EQ(Download(*backend_, *outs[1]), Multiply(*backend_, b.view(), x, 5));
  EXPECT_EQ(Download(*backend_, *outs[2]), Multiply(*backend_, c.view(), x, 5));
}

TEST_P(BackendOpsTest, RotationTurnsInterleavedPairsByThePosition) {
  const auto layout = KvLayout::LayerMajor(1, 1, 1, 8, KvType::kF32);
  AlignedBytes arena(layout.TotalBytes());
  ASSERT_TRUE(backend_->BindKvCache({arena.get(), layout}, {1, 4, 100.0f, 1.0f}).ok());
  backend_->BeginStep({{0}, {3}, {0}, {0, 1}});
  const std::vector<float> x = {1, 2, 3, 4, 5, 6, 7, 8};
  auto q = Upload(*backend_, x), k = Upload(*backend_, x), v = Upload(*backend_, x);
  backend_->AppendKv(0, q->data(), k->data(), v->data());
  backend_->Synchronize();
  // Pair 0 turns by 3, pair 1 by 3 * 100^(-1/2) = 0.3; the rest stays.
  const std::vector<double> want = {std::cos(3.0) - 2 * std::sin(3.0),
                                    std::sin(3.0) + 2 * std::cos(3.0),
                                    3 * std::cos(0.3) - 4 * std::sin(0.3),
                                    3 * std::sin(0.3) + 4 * std::cos(0.3),
                                    5,
                                    6,
                                    7,
                                    8};
  const auto rotated = Download(*backend_, *q);
  const auto* key = reinterpret_cast<const float*>(arena.get() + layout.KeyOffset(0, 0, 0, 3));
  const auto* value = reinterpret_cast<const float*>(arena.get() + layout.ValueOffset(0, 0, 0, 3));
  for (int i = 0; i < 8; ++i) {
    EXPECT_NEAR(rotated[i], want[i], 1e-5);
    EXPECT_EQ(key[i], rotated[i]);
    EXPECT_EQ(value[i], x[i]);
  }
}

TEST_P(BackendOpsTest, ContradictingShapesAreRefused) {
  AlignedBytes arena(1 << 16);
  const auto layout = KvLayout::LayerMajor(1, 4, 2, 16, KvType::kF16);
  const AttentionConfig good{4, 16, 10000.0f, 0.25f};
  EXPECT_TRUE(backend_->BindKvCache({arena.get(), layout}, good).ok());
  EXPECT_FALSE(backend_->BindKvCache({nullptr, layout}, good).ok());
  EXPECT_FALSE(backend_->BindKvCache({arena.get() + 2, layout}, good).ok());
  AttentionConfig bad = good;
  bad.query_heads = 3;
  EXPECT_FALSE(backend_->BindKvCache({arena.get(), layout}, bad).ok());
  bad = good;
  bad.rope_dim = 18;
  EXPECT_FALSE(backend_->BindKvCache({arena.get(), layout}, bad).ok());
  const auto odd = KvLayout::LayerMajor(1, 4, 2, 12, KvType::kF16);
  EXPECT_EQ(backend_->BindKvCache({arena.get(), odd}, {4, 12, 10000.0f, 0.25f}).code(),
            absl::StatusCode::kUnimplemented);
  const std::vector<std::byte> bytes(10);
  EXPECT_EQ(backend_->Pack({WeightType::kQ4_1, 1, 32, bytes}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(backend_->LoadVector({WeightType::kF32, 2, 1, {bytes.data(), 8}}).ok());
}

INSTANTIATE_TEST_SUITE_P(Backends, BackendOpsTest, testing::ValuesIn(RunnableBackends()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace tandem
