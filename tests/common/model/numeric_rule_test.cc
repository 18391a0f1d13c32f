// The numeric rule on a tiny model: a token's KV and logits are bit-equal whatever else is computed
// with it.
#include <gmock/gmock.h>

#include <cstring>
#include <string>
#include <tuple>

#include "tests/common/model/model_rig.h"
#include "tests/common/weights/tiny_model.h"

namespace tandem {
namespace {

constexpr int kLongest = 530;  // more than one chunk of 512, not a multiple of anything
constexpr int kSequences = 8;
constexpr uint32_t kBlocks = 160;
const std::vector<int> kPositions = {0, 1, 15, 16, 63, 200, kLongest - 1};

std::unique_ptr<ModelFile> TinyFile(DType dtype) {
  TinyModelOptions options;
  options.dtype = dtype;
  return ModelFile::Parse(TinyModelBytes(options)).value();
}

// The first one is looked at; the others, of many lengths, keep it company.
std::vector<std::vector<TokenId>> TokenLists(int count, int vocabulary) {
  std::vector<std::vector<TokenId>> lists = {MakeTokens(kLongest, vocabulary, 1)};
  for (int i = 1; i < count; ++i) lists.push_back(MakeTokens(i * 37, vocabulary, 1 + i));
  return lists;
}

bool SameBits(const Logits& a, const Logits& b) {
  if (a.size() != b.size()) return false;
  for (const auto& [position, values] : a) {
    const auto other = b.find(position);
    if (other == b.end() || other->second.size() != values.size() ||
        std::memcmp(other->second.data(), values.data(), values.size() * sizeof(float)) != 0) {
      return false;
    }
  }
  return true;
}

class NumericRuleTest : public ::testing::TestWithParam<std::tuple<BackendKind, KvElement, DType>> {
 protected:
  NumericRuleTest() : file_(TinyFile(std::get<2>(GetParam()))) {}

  ModelRig Rig(int threads) {
    return MakeRig(*file_, {.backend = std::get<0>(GetParam()),
                            .kv_element = std::get<1>(GetParam()),
                            .threads = threads,
                            .max_batch_tokens = 512 * kSequences,
                            .num_blocks = kBlocks});
  }

  std::unique_ptr<ModelFile> file_;
};

TEST_P(NumericRuleTest, KvAndLogitsDoNotDependOnBatchChunkOrThreads) {
  const int vocabulary = file_->config().vocab_size;
  ModelRig expected_rig = Rig(1);
  auto expected_sequences = PlaceSequences(TokenLists(1, vocabulary), kBlocks);
  const Logits expected = RunInChunks(expected_rig, expected_sequences, kLongest, kPositions)[0];
  const std::vector<std::byte> expected_kv = KvBytes(expected_rig, expected_sequences[0]);
  ASSERT_EQ(expected.size(), kPositions.size());

  for (const int threads : {1, 2}) {
    for (const int batch : {1, kSequences}) {
      for (const int chunk : {1, 16, 512}) {
        ModelRig rig = Rig(threads);
        auto sequences = PlaceSequences(TokenLists(batch, vocabulary), kBlocks);
        const auto logits = RunInChunks(rig, sequences, chunk, kPositions);
        const std::string what = "threads " + std::to_string(threads) + ", batch " +
                                 std::to_string(batch) + ", chunk " + std::to_string(chunk);
        EXPECT_TRUE(SameBits(logits[0], expected)) << what;
        EXPECT_TRUE(KvBytes(rig, sequences[0]) == expected_kv) << what;
      }
    }
  }
}

TEST_P(NumericRuleTest, PrefixCopiedFromAnotherArenaGivesTheSameLogits) {
  const auto lists = TokenLists(1, file_->config().vocab_size);
  ModelRig source = Rig(1);
  auto computed = PlaceSequences(lists, kBlocks);
  const Logits expected = RunInChunks(source, computed, 512, kPositions)[0];

  ModelRig target = Rig(2);
  // Other physical blocks than at the source.
  auto landed = PlaceSequences({MakeTokens(50, 100, 9), lists[0]}, kBlocks);
  RigSequence& sequence = landed[1];
  const uint32_t prefix_blocks = (kLongest - 1) / 16;
  for (uint32_t layer = 0; layer < target.arena->shape().num_layers; ++layer) {
    for (uint32_t b = 0; b < prefix_blocks; ++b) {
      const auto from = source.arena->Run(layer, computed[0].block_table[b], 1);
      const auto to = target.arena->Run(layer, sequence.block_table[b], 1);
      ASSERT_EQ(from.size(), to.size());
      std::memcpy(to.data(), from.data(), from.size());
    }
  }
  sequence.landed = prefix_blocks * 16;
  const Logits after = RunInChunks(target, landed, 16, {kLongest - 1})[1];
  EXPECT_TRUE(SameBits(after, {{kLongest - 1, expected.at(kLongest - 1)}}));
  EXPECT_TRUE(KvBytes(target, sequence) == KvBytes(source, computed[0]));
}

std::string ParameterName(
    const ::testing::TestParamInfo<std::tuple<BackendKind, KvElement, DType>>& info) {
  return std::string(std::get<0>(info.param) == BackendKind::kReference ? "reference" : "cpu") +
         (std::get<1>(info.param) == KvElement::kF16 ? "_f16_" : "_f32_") +
         std::string(DTypeName(std::get<2>(info.param)));
}

INSTANTIATE_TEST_SUITE_P(
    Profiles, NumericRuleTest,
    ::testing::Combine(::testing::Values(BackendKind::kReference, BackendKind::kAuto),
                       ::testing::Values(KvElement::kF16, KvElement::kF32),
                       ::testing::Values(DType::kF32, DType::kQ4_1, DType::kQ8_0)),
    ParameterName);

}  // namespace
}  // namespace tandem
