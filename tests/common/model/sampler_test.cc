#include "common/model/sampler.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <vector>

#include "common/model/philox.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

SamplingParams Greedy() {
  SamplingParams params;
  params.temperature = 0;
  return params;
}

SamplingParams Random(uint64_t seed) {
  SamplingParams params;
  params.seed = seed;
  return params;
}

TokenId Sample(const std::vector<float>& logits, const SamplingParams& params,
               uint32_t output_index = 0, const std::vector<TokenId>& banned = {},
               uint32_t choice = 0) {
  const auto sampled = SampleToken(logits, params, choice, output_index, banned);
  EXPECT_TRUE(sampled.ok()) << sampled.status();
  return sampled.ok() ? sampled->token : -1;
}

std::map<TokenId, int> Histogram(const std::vector<float>& logits, const SamplingParams& params,
                                 int draws, const std::vector<TokenId>& banned = {}) {
  std::map<TokenId, int> counts;
  for (int i = 0; i < draws; ++i) ++counts[Sample(logits, params, i, banned)];
  return counts;
}

std::vector<double> Softmax(const std::vector<float>& logits, double temperature) {
  std::vector<double> p;
  for (const float logit : logits) p.push_back(std::exp(logit / temperature));
  const double sum = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& x : p) x /= sum;
  return p;
}

double ChiSquare(const std::map<TokenId, int>& counts, const std::vector<double>& probabilities,
                 int draws) {
  double chi_square = 0;
  for (size_t i = 0; i < probabilities.size(); ++i) {
    const auto found = counts.find(static_cast<TokenId>(i));
    const double observed = found == counts.end() ? 0 : found->second;
    const double expected = probabilities[i] * draws;
    if (expected == 0) {
      EXPECT_EQ(observed, 0) << "token " << i << " has no probability";
      continue;
    }
    chi_square += (observed - expected) * (observed - expected) / expected;
  }
  return chi_square;
}

TEST(SamplerTest, GreedyTakesTheLargestAndTheLowestIdAmongEquals) {
  EXPECT_EQ(Sample({1, 5, 2}, Greedy()), 1);
  EXPECT_EQ(Sample({1, 5, 5, 5}, Greedy()), 1);
  EXPECT_EQ(Sample({-kInfinity, -3, -kInfinity}, Greedy()), 1);
}

TEST(SamplerTest, BannedTokensAreNeverChosen) {
  EXPECT_EQ(Sample({1, 5, 2}, Greedy(), 0, {1}), 2);
  EXPECT_EQ(Sample({1, 5, 2}, Greedy(), 0, {1, 2, 77, -1}), 0);
  const auto counts = Histogram({1, 9, 2}, Random(3), 500, {1});
  EXPECT_EQ(counts.count(1), 0u);
  EXPECT_EQ(counts.size(), 2u);
}

TEST(SamplerTest, BanningEveryTokenIsAnError) {
  for (const SamplingParams& params : {Greedy(), Random(1)}) {
    EXPECT_EQ(SampleToken(std::vector<float>{1, 2}, params, 0, 0, std::vector<TokenId>{0, 1})
                  .status()
                  .code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST(SamplerTest, OnlyImpossibleTokensLeftStillGivesAnAllowedOne) {
  EXPECT_EQ(Sample({-kInfinity, 3, -kInfinity}, Random(1), 0, {1}), 0);
}

TEST(SamplerTest, LogitsThatAreNotNumbersAreAnError) {
  for (const SamplingParams& params : {Greedy(), Random(1)}) {
    for (const float bad : {std::nanf(""), kInfinity}) {
      const auto result = SampleToken(std::vector<float>{1, bad, 2}, params, 0, 0, {});
      EXPECT_EQ(result.status().code(), absl::StatusCode::kInternal);
      EXPECT_THAT(result.status().message(), HasSubstr("token 1"));
    }
    EXPECT_FALSE(SampleToken(std::vector<float>{-kInfinity, -kInfinity}, params, 0, 0, {}).ok());
  }
}

// 99.9th percentile of chi-square with 7 degrees of freedom is 24.3.
TEST(SamplerTest, DrawsFollowTheTemperedSoftmax) {
  const std::vector<float> logits = {0.0f, 1.0f, 2.0f, -1.0f, 0.5f, 1.5f, -0.5f, 0.25f};
  constexpr int kDraws = 40000;
  for (const float temperature : {0.5f, 1.0f, 2.0f}) {
    SamplingParams params = Random(20240607);
    params.temperature = temperature;
    EXPECT_LT(ChiSquare(Histogram(logits, params, kDraws), Softmax(logits, temperature), kDraws),
              24.3)
        << "temperature " << temperature;
  }
}

TEST(SamplerTest, TopKKeepsTheBestByLogitThenId) {
  SamplingParams params = Random(5);
  params.top_k = 2;
  const auto counts = Histogram({2, 1, 2, 2}, params, 4000);
  ASSERT_EQ(counts.size(), 2u);
  EXPECT_TRUE(counts.count(0) && counts.count(2));
  EXPECT_NEAR(counts.at(0), 2000, 150);
  params.top_k = 1;
  EXPECT_EQ(Histogram({2, 1, 2, 2}, params, 50).size(), 1u);
  params.top_k = 100;  // more than there are
  EXPECT_EQ(Histogram({2, 1, 2, 2}, params, 500).size(), 4u);
}

TEST(SamplerTest, TopPKeepsTheSmallestSetThatReachesTheMass) {
  // Probabilities 0.5, 0.3, 0.15, 0.05.
  const std::vector<float> logits = {std::log(0.15f), std::log(0.5f), std::log(0.05f),
                                     std::log(0.3f)};
  SamplingParams params = Random(11);
  params.top_p = 0.45f;
  EXPECT_EQ(Histogram(logits, params, 200).size(), 1u);
  params.top_p = 0.75f;
  const auto two = Histogram(logits, params, 8000);
  ASSERT_EQ(two.size(), 2u);
  EXPECT_NEAR(two.at(1), 5000, 250);
  EXPECT_NEAR(two.at(3), 3000, 250);
  params.top_p = 0.9f;
  EXPECT_EQ(Histogram(logits, params, 2000).size(), 3u);
  params.top_p = 0.0f;
  EXPECT_EQ(Sample(logits, params), 1);
}

TEST(SamplerTest, TopPAfterTopKCountsTheMassThatTopKLeft) {
  const std::vector<float> logits = {std::log(0.5f), std::log(0.3f), std::log(0.2f)};
  SamplingParams params = Random(11);
  params.top_k = 2;  // leaves 0.625 and 0.375
  params.top_p = 0.6f;
  EXPECT_EQ(Histogram(logits, params, 300).size(), 1u);
}

TEST(SamplerTest, WideNucleusAgreesWithAFullSort) {
  std::vector<float> logits;
  for (int i = 0; i < 5000; ++i) {
    logits.push_back(static_cast<float>(UniformDraw(9, 0, i)));  // nearly flat: a large nucleus
  }
  SamplingParams params = Random(1);
  params.top_p = 0.5f;
  std::vector<int> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int a, int b) { return logits[a] > logits[b]; });
  const std::vector<double> p = Softmax(logits, 1.0);
  double mass = 0;
  size_t kept = 0;
  while (mass < 0.5) mass += p[order[kept++]];
  const float smallest_kept = logits[order[kept - 1]];
  for (const auto& [token, count] : Histogram(logits, params, 300)) {
    EXPECT_GE(logits[token], smallest_kept);
  }
}

TEST(SamplerTest, DrawDependsOnSeedChoiceAndIndexOnly) {
  std::vector<float> logits(1000, 0.0f);
  const auto stream = [&](uint64_t seed, uint32_t choice) {
    std::vector<TokenId> tokens;
    for (uint32_t i = 0; i < 8; ++i) tokens.push_back(Sample(logits, Random(seed), i, {}, choice));
    return tokens;
  };
  EXPECT_EQ(stream(1, 0), stream(1, 0));
  EXPECT_NE(stream(1, 0), stream(2, 0));
  EXPECT_NE(stream(1, 0), stream(1, 1));
  // A resumed stream starts at an index, not at a state.
  EXPECT_EQ(Sample(logits, Random(1), 5), stream(1, 0)[5]);
}

TEST(SamplerTest, TinyTemperatureIsGreedyAndHugeIsFlat) {
  SamplingParams params = Random(4);
  params.temperature = 1e-30f;
  EXPECT_EQ(Histogram({1, 1.001f, 0.5f}, params, 100).size(), 1u);
  params.temperature = 1e30f;
  EXPECT_EQ(Histogram({1, 9, -30}, params, 300).size(), 3u);
}

TEST(SamplerTest, LogprobsAreOfTheRawLogits) {
  const std::vector<float> logits = {1.0f, 3.0f, 2.0f, 3.0f};
  const std::vector<double> p = Softmax(logits, 1.0);
  SamplingParams params = Random(8);
  params.temperature = 0.3f;
  params.top_k = 1;
  params.top_logprobs = 3;
  const auto sampled = SampleToken(logits, params, 0, 0, std::vector<TokenId>{1, 3});
  ASSERT_TRUE(sampled.ok());
  ASSERT_TRUE(sampled->logprobs.has_value());
  EXPECT_EQ(sampled->logprobs->chosen.token, 2);
  EXPECT_NEAR(sampled->logprobs->chosen.logprob, std::log(p[2]), 1e-6);
  std::vector<TokenId> top;
  for (const TokenLogprob& entry : sampled->logprobs->top) {
    top.push_back(entry.token);
    EXPECT_NEAR(entry.logprob, std::log(p[entry.token]), 1e-6);
  }
  EXPECT_THAT(top, ElementsAre(1, 3, 2));
}

TEST(SamplerTest, LogprobsAreThereOnlyWhenAskedFor) {
  EXPECT_FALSE(SampleToken(std::vector<float>{1, 2}, Greedy(), 0, 0, {})->logprobs.has_value());
  SamplingParams params = Greedy();
  params.top_logprobs = 0;
  const auto chosen_only = SampleToken(std::vector<float>{1, 2}, params, 0, 0, {});
  ASSERT_TRUE(chosen_only->logprobs.has_value());
  EXPECT_EQ(chosen_only->logprobs->chosen.token, 1);
  EXPECT_TRUE(chosen_only->logprobs->top.empty());
  params.top_logprobs = 20;  // more than the vocabulary
  EXPECT_EQ(SampleToken(std::vector<float>{1, 2}, params, 0, 0, {})->logprobs->top.size(), 2u);
}

}  // namespace
}  // namespace tandem
