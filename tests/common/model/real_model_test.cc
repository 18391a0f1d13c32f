// The default model on the backend that workers use: it makes sense, and the numeric rule holds.
#include "tests/common/model/real_model.h"

#include <gmock/gmock.h>

#include <cstring>

#include "common/model/transformer_executor.h"
#include "tests/common/model/layer_watcher.h"
#include "tests/common/model/model_rig.h"

namespace tandem {
namespace {

// "The capital of France is", and the token of " Paris".
const std::vector<TokenId> kPrompt = {504, 3575, 282, 4649, 314};
constexpr TokenId kParis = 7042;

class RealModelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    file_ = OpenRealModel();
    if (file_ == nullptr) GTEST_SKIP() << kNoRealModel;
  }

  ModelRig Rig(int threads, uint32_t num_blocks) {
    return MakeRig(*file_, {.backend = BackendKind::kAuto,
                            .kv_element = KvElement::kF16,
                            .threads = threads,
                            .max_batch_tokens = 512,
                            .num_blocks = num_blocks});
  }

  std::unique_ptr<ModelFile> file_;
};

TEST_F(RealModelTest, GreedyContinuationIsSensible) {
  ModelRig rig = Rig(2, 4);
  TransformerExecutor executor(rig.transformer.get(), rig.team.get());
  auto params = std::make_shared<SamplingParams>();
  params->temperature = 0;
  std::vector<TokenId> tokens = kPrompt;
  uint32_t landed = 0;
  while (tokens.size() < kPrompt.size() + 4) {
    StepPlan plan;
    StepSequence sequence;
    sequence.start = landed;
    sequence.tokens.assign(tokens.begin() + landed, tokens.end());
    sequence.block_table = {BlockId(2)};
    sequence.sample = SampleRequest{.params = params, .choice = 0, .output_index = 0, .banned = {}};
    plan.sequences.push_back(sequence);
    LayerWatcher watcher;
    const StepDone done = executor.Execute(plan, &watcher);
    ASSERT_TRUE(done.status.ok()) << done.status;
    landed = static_cast<uint32_t>(tokens.size());
    tokens.push_back(done.sampled[0].token);
  }
  EXPECT_EQ(tokens[kPrompt.size()], kParis);
}

TEST_F(RealModelTest, KvAndLogitsAreBitEqualAcrossChunksBatchesAndThreads) {
  constexpr int kLength = 100;
  constexpr uint32_t kBlocks = 40;
  const int vocabulary = file_->config().vocab_size;
  struct Setting {
    int threads, batch, chunk;
  };
  std::vector<std::byte> expected_kv;
  std::vector<float> expected_logits;
  for (const Setting& s : {Setting{1, 1, 512}, Setting{2, 1, 512}, Setting{2, 4, 16},
                           Setting{1, 4, 100}, Setting{2, 1, 1}}) {
    ModelRig rig = Rig(s.threads, kBlocks);
    std::vector<std::vector<TokenId>> lists;
    for (int i = 0; i < s.batch; ++i) {
      lists.push_back(MakeTokens(kLength - 7 * i, vocabulary, 1 + i));
    }
    auto sequences = PlaceSequences(lists, kBlocks);
    const auto logits = RunInChunks(rig, sequences, s.chunk, {kLength - 1})[0].at(kLength - 1);
    const auto kv = KvBytes(rig, sequences[0]);
    if (expected_kv.empty()) {
      expected_kv = kv;
      expected_logits = logits;
      continue;
    }
    EXPECT_TRUE(kv == expected_kv)
        << "threads " << s.threads << ", batch " << s.batch << ", chunk " << s.chunk;
    EXPECT_EQ(0, std::memcmp(logits.data(), expected_logits.data(), logits.size() * sizeof(float)))
        << "threads " << s.threads << ", batch " << s.batch << ", chunk " << s.chunk;
  }
}

}  // namespace
}  // namespace tandem
