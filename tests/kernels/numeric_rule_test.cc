// The numeric rule: a row's result and its cached keys and values are bit-equal however the work is
// cut up.
#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/kernels/tiny_model.h"

namespace tandem {
namespace {

using Row = TinyModel::Row;

bool BitEqual(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// What one run of a sequence of `tokens` tokens left behind, by position.
struct Trace {
  std::vector<std::vector<float>> rows;
  std::vector<std::vector<std::byte>> cached;
};

Trace EmptyTrace(int tokens) {
  return {std::vector<std::vector<float>>(tokens), std::vector<std::vector<std::byte>>(tokens)};
}

void ExpectSame(const Trace& want, const Trace& got, const std::string& what) {
  ASSERT_EQ(want.rows.size(), got.rows.size());
  for (size_t p = 0; p < want.rows.size(); ++p) {
    ASSERT_TRUE(BitEqual(want.rows[p], got.rows[p])) << what << ": row differs at position " << p;
    ASSERT_EQ(want.cached[p], got.cached[p]) << what << ": cache differs at position " << p;
  }
}

Trace RunInChunks(const std::string& name, int threads, const TinyShape& shape, int text,
                  int tokens, int chunk, uint32_t block_seed) {
  BackendUnderTest backend(name, threads);
  TinyModel model(*backend, shape, 1, tokens, block_seed);
  EXPECT_TRUE(model.status().ok()) << model.status();
  Trace trace = EmptyTrace(tokens);
  for (int start = 0; start < tokens; start += chunk) {
    std::vector<Row> rows;
    for (int p = start; p < std::min(start + chunk, tokens); ++p) rows.push_back({0, p});
    auto results = model.Step(rows, [&](int) { return text; });
    for (size_t r = 0; r < rows.size(); ++r) trace.rows[start + r] = std::move(results[r]);
  }
  for (int p = 0; p < tokens; ++p) trace.cached[p] = model.CachedToken(0, p);
  return trace;
}

class NumericRuleTest : public testing::TestWithParam<std::tuple<std::string, WeightType>> {
 protected:
  std::string backend() const { return std::get<0>(GetParam()); }
  TinyShape shape() const {
    TinyShape shape;
    shape.weights = std::get<1>(GetParam());
    return shape;
  }
};

TEST_P(NumericRuleTest, ChunkAndThreadsDoNotMatter) {
  constexpr int kTokens = 530;  // more than two attention splits and one 512-token chunk
  const Trace want = RunInChunks(backend(), 1, shape(), 0, kTokens, 1, 1);
  constexpr struct { int threads, chunk; } kCuts[] = {{1, 512}, {2, 1}, {2, 16}, {2, 512}, {3, 37}};
  for (const auto [threads, chunk] : kCuts) {
    ExpectSame(want, RunInChunks(backend(), threads, shape(), 0, kTokens, chunk, chunk),
               "threads " + std::to_string(threads) + ", chunk " + std::to_string(chunk));
  }
}

TEST_P(NumericRuleTest, FloatCacheFollowsTheRuleToo) {
  constexpr int kTokens = 300;
  TinyShape float_shape = shape();
  float_shape.kv = KvType::kF32;
  const Trace want = RunInChunks(backend(), 1, float_shape, 0, kTokens, 1, 1);
  ExpectSame(want, RunInChunks(backend(), 2, float_shape, 0, kTokens, 64, 2), "chunk 64");
}

TEST_P(NumericRuleTest, BatchAndRowOrderDoNotMatter) {
  constexpr int kSequences = 8;
  constexpr int kPrompt = 40;
  constexpr int kDecoded = 6;
  constexpr int kTokens = kPrompt + kDecoded + kSequences;
  const auto length = [](int s) { return kPrompt + s + kDecoded; };
  std::vector<Trace> want;
  for (int s = 0; s < kSequences; ++s) {
    want.push_back(RunInChunks(backend(), 1, shape(), s, length(s), 1, s));
  }

  for (int threads : {1, 2}) {
    BackendUnderTest used(backend(), threads);
    TinyModel model(*used, shape(), kSequences, kTokens, 99);
    ASSERT_TRUE(model.status().ok()) << model.status();
    std::vector<Trace> got;
    for (int s = 0; s < kSequences; ++s) got.push_back(EmptyTrace(length(s)));
    std::mt19937 random(threads);
    const auto run = [&](std::vector<Row> rows) {
      std::shuffle(rows.begin(), rows.end(), random);
      auto results = model.Step(rows, [](int sequence) { return sequence; });
      for (size_t r = 0; r < rows.size(); ++r) {
        got[rows[r].sequence].rows[rows[r].position] = std::move(results[r]);
      }
    };
    // Prompts of different lengths, all rows shuffled together; then the last tokens one step at a
    // time.
    std::vector<Row> prompts;
    for (int s = 0; s < kSequences; ++s) {
      for (int p = 0; p < kPrompt + s; ++p) prompts.push_back({s, p});
    }
    run(prompts);
    for (int i = 0; i < kDecoded; ++i) {
      std::vector<Row> rows;
      for (int s = 0; s < kSequences; ++s) rows.push_back({s, kPrompt + s + i});
      run(rows);
    }
    for (int s = 0; s < kSequences; ++s) {
      for (int p = 0; p < length(s); ++p) got[s].cached[p] = model.CachedToken(s, p);
      ExpectSame(want[s], got[s], "sequence " + std::to_string(s));
    }
  }
}

TEST_P(NumericRuleTest, MixedPrefillAndDecodeDoNotMatter) {
  constexpr int kTokens = 290;
  const Trace want_long = RunInChunks(backend(), 1, shape(), 0, kTokens, 1, 1);
  const Trace want_short = RunInChunks(backend(), 1, shape(), 1, 30, 1, 1);
  BackendUnderTest used(backend(), 2);
  TinyModel model(*used, shape(), 2, kTokens, 3);
  ASSERT_TRUE(model.status().ok()) << model.status();
  Trace got_long = EmptyTrace(kTokens), got_short = EmptyTrace(30);
  for (int step = 0; step < 30; ++step) {
    std::vector<Row> rows = {{1, step}};
    for (int p = step * 10; p < std::min(step * 10 + 10, kTokens); ++p) rows.push_back({0, p});
    auto results = model.Step(rows, [](int sequence) { return sequence; });
    for (size_t r = 0; r < rows.size(); ++r) {
      Trace& trace = rows[r].sequence == 0 ? got_long : got_short;
      trace.rows[rows[r].position] = std::move(results[r]);
    }
  }
  for (int p = 0; p < kTokens; ++p) got_long.cached[p] = model.CachedToken(0, p);
  for (int p = 0; p < 30; ++p) got_short.cached[p] = model.CachedToken(1, p);
  ExpectSame(want_long, got_long, "long sequence");
  ExpectSame(want_short, got_short, "short sequence");
}

std::string Name(const testing::TestParamInfo<NumericRuleTest::ParamType>& info) {
  return std::get<0>(info.param) + "_" + std::string(WeightTypeName(std::get<1>(info.param)));
}

// The reference turns every type into floats, so two types stand for all.
INSTANTIATE_TEST_SUITE_P(Reference, NumericRuleTest,
                         testing::Combine(testing::Values("reference"),
                                          testing::Values(WeightType::kF32, WeightType::kQ4_1)),
                         Name);
INSTANTIATE_TEST_SUITE_P(Fast, NumericRuleTest,
                         testing::Combine(testing::ValuesIn(FastBackends()),
                                          testing::ValuesIn(kAllWeightTypes)),
                         Name);

// Equal profiles promise equal bits, so a processor with AVX-512 may fill a cache that one without
// it goes on with.
class InstructionSetTest : public testing::TestWithParam<WeightType> {};

TEST_P(InstructionSetTest, DoesNotMatter) {
  const std::vector<std::string> names = FastBackends();
  if (names.size() < 2) GTEST_SKIP() << "this processor has one instruction set to run, or none";
  constexpr int kTokens = 300;
  for (KvType kv : {KvType::kF16, KvType::kF32}) {
    TinyShape shape;
    shape.weights = GetParam();
    shape.kv = kv;
    const Trace want = RunInChunks(names[0], 1, shape, 0, kTokens, 40, 1);
    for (size_t i = 1; i < names.size(); ++i) {
      ExpectSame(want, RunInChunks(names[i], 1, shape, 0, kTokens, 40, 1), names[i]);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, InstructionSetTest, testing::ValuesIn(kAllWeightTypes),
                         [](const auto& info) { return std::string(WeightTypeName(info.param)); });

}  // namespace
}  // namespace tandem
