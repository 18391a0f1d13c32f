// Logits and greedy tokens against Hugging Face transformers in float32 on the same, dequantized
// weights (testdata/hf_reference.json, made by make_reference.py).
//
// Prompt and reference continuation are computed in one pass with logits at every step, which
// decides for each of the 48 steps whether greedy choice takes the reference's token: while it
// does, that pass is what step-by-step decoding computes.
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <vector>

#include "tests/common/model/model_rig.h"
#include "tests/common/model/real_model.h"

namespace tandem {
namespace {

constexpr uint32_t kBlocks = 16;

struct Reference {
  explicit Reference(const std::string& path) {
    std::ifstream file(path);
    file >> json;
  }
  nlohmann::json json;
};

// Absolute differences.
struct ErrorSum {
  double sum = 0;
  double largest = 0;
  int64_t count = 0;

  double Mean() const { return sum / static_cast<double>(count); }

  void Add(double difference) {
    const double error = std::abs(difference);
    sum += error;
    ++count;
    if (!(error <= largest)) largest = error;  // a NaN must not slip through the comparison
  }
};

// What a backend's logits differ by from the reference's, over all prompts.
struct Comparison {
  ErrorSum logit_error;
  // After removal of what all logits of a position are off by together, which no probability
  // depends on.
  ErrorSum unshifted_error;
  int steps = 0;
  int departures = 0;                   // steps where another token than the reference's is best
  double largest_departure_margin = 0;  // by how much the reference's token led there
};

double Median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<int64_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

void ComparePosition(const nlohmann::json& kept, int stride, const std::vector<float>& logits,
                     Comparison& comparison) {
  const auto top_ids = kept.at("top_ids").get<std::vector<int>>();
  const auto top_logits = kept.at("top_logits").get<std::vector<double>>();
  const auto sample = kept.at("sample_logits").get<std::vector<double>>();
  ASSERT_EQ(sample.size(), (logits.size() + stride - 1) / stride);
  std::vector<double> differences;
  for (size_t i = 0; i < sample.size(); ++i) differences.push_back(logits[i * stride] - sample[i]);
  const double shift = Median(differences);
  for (size_t i = 0; i < top_ids.size(); ++i) {
    differences.push_back(logits[top_ids[i]] - top_logits[i]);
  }
  for (const double difference : differences) {
    comparison.logit_error.Add(difference);
    comparison.unshifted_error.Add(difference - shift);
  }
}

Comparison Compare(const ModelFile& file, const Reference& reference, const RigOptions& options) {
  ModelRig rig = MakeRig(file, options);
  Comparison comparison;
  for (const nlohmann::json& entry : reference.json.at("prompts")) {
    auto tokens = entry.at("prompt").get<std::vector<TokenId>>();
    const auto greedy = entry.at("greedy").get<std::vector<TokenId>>();
    const auto margins = entry.at("margins").get<std::vector<double>>();
    const int first_step = static_cast<int>(tokens.size()) - 1;
    tokens.insert(tokens.end(), greedy.begin(), greedy.end());

    std::vector<int> positions(greedy.size() + 1);
    std::iota(positions.begin(), positions.end(), first_step);
    for (const nlohmann::json& kept : entry.at("positions")) {
      positions.push_back(kept.at("position").get<int>());
    }
    auto sequences = PlaceSequences({tokens}, kBlocks);
    const Logits logits =
        RunInChunks(rig, sequences, static_cast<int>(tokens.size()), positions)[0];

    for (const nlohmann::json& kept : entry.at("positions")) {
      ComparePosition(kept, reference.json.at("vocabulary_stride").get<int>(),
                      logits.at(kept.at("position").get<int>()), comparison);
    }
    for (size_t step = 0; step < greedy.size(); ++step) {
      const std::vector<float>& row = logits.at(first_step + static_cast<int>(step));
      const auto best = std::max_element(row.begin(), row.end()) - row.begin();
      ++comparison.steps;
      if (best == greedy[step]) continue;
      ++comparison.departures;
      comparison.largest_departure_margin =
          std::max(comparison.largest_departure_margin, margins[step]);
    }
  }
  std::cout << rig.backend->profile() << ": logit error mean " << comparison.logit_error.Mean()
            << ", largest " << comparison.logit_error.largest << "; without the common shift mean "
            << comparison.unshifted_error.Mean() << ", largest "
            << comparison.unshifted_error.largest << " (" << comparison.logit_error.count
            << " logits); " << comparison.departures << " of " << comparison.steps
            << " greedy steps differ, largest reference margin there "
            << comparison.largest_departure_margin << "\n";
  return comparison;
}

class HfParityTest : public ::testing::Test {
 protected:
  void SetUp() override {
    file_ = OpenRealModel();
    if (file_ == nullptr) GTEST_SKIP() << kNoRealModel;
  }
  std::unique_ptr<ModelFile> file_;
  Reference reference_{TANDEM_MODEL_TESTDATA "/hf_reference.json"};
};

TEST_F(HfParityTest, ReferenceBackendComputesTheSameLogitsAndTokens) {
  const Comparison comparison = Compare(*file_, reference_,
                                        {.backend = BackendKind::kReference,
                                         .kv_element = KvElement::kF32,
                                         .threads = 2,
                                         .max_batch_tokens = 128,
                                         .num_blocks = kBlocks});
  EXPECT_LT(comparison.logit_error.largest, 0.05);
  EXPECT_EQ(comparison.departures, 0);
}

// The fast backend quantizes activations to 8 bits in blocks of 32, as llama.cpp does, and gives
// blocks with outliers a second term. llama.cpp's own error on such prompts is 0.11 on average and
// up to 1.8: the bound here. What differs most from run to run of an experiment is a shift of all
// logits of a position, which no probability depends on; without it the error is steadier, and
// a second bound watches it more closely. A step may differ where the reference's two best tokens
// are closer than errors of that size can move them apart.
TEST_F(HfParityTest, FastBackendStaysWithinTheErrorOfQuantizedActivations) {
  constexpr double kNearTie = 0.5;
  for (const KvElement element : {KvElement::kF16, KvElement::kF32}) {
    const Comparison comparison = Compare(*file_, reference_,
                                          {.backend = BackendKind::kAuto,
                                           .kv_element = element,
                                           .threads = 2,
                                           .max_batch_tokens = 128,
                                           .num_blocks = kBlocks});
    EXPECT_LE(comparison.logit_error.Mean(), 0.11);
    EXPECT_LE(comparison.logit_error.largest, 1.8);
    EXPECT_LE(comparison.unshifted_error.Mean(), 0.06);
    EXPECT_LT(comparison.largest_departure_margin, kNearTie);
  }
}

}  // namespace
}  // namespace tandem
