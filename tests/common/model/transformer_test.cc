#include "common/model/transformer.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <numeric>

#include "tests/common/model/model_rig.h"
#include "tests/common/weights/tiny_model.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::unique_ptr<ModelFile> TinyFile(TinyModelOptions options = {}) {
  return ModelFile::Parse(TinyModelBytes(options)).value();
}

// What one pass reported.
struct Heard {
  absl::Status status;
  std::vector<int> layers;
  std::vector<int> logit_rows;
};

Heard RunPass(ModelRig& rig, const ForwardBatch& batch) {
  Heard heard;
  const size_t vocabulary = rig.transformer->config().vocab_size;
  heard.status = rig.transformer->Forward(
      batch, [&](int layer) { heard.layers.push_back(layer); },
      [&](int first, absl::Span<const float> logits) {
        for (size_t i = 0; i < logits.size() / vocabulary; ++i) {
          heard.logit_rows.push_back(first + static_cast<int>(i));
        }
      });
  return heard;
}

std::vector<BlockId> Table(int blocks) {
  std::vector<BlockId> table;
  for (int i = 0; i < blocks; ++i) table.push_back(BlockId(i));
  return table;
}

TEST(TransformerTest, PrefillReportsLayersInOrderAndComputesNoLogits) {
  const auto file = TinyFile();
  ModelRig rig = MakeRig(*file, {});
  ForwardBatch batch;
  batch.AddSequence(0, MakeTokens(20, 300, 1), Table(2));
  const Heard heard = RunPass(rig, batch);
  EXPECT_TRUE(heard.status.ok());
  EXPECT_THAT(heard.layers, ElementsAre(0, 1));
  EXPECT_THAT(heard.logit_rows, IsEmpty());
}

TEST(TransformerTest, KvOfALayerIsInTheArenaWhenTheLayerIsReported) {
  const auto file = TinyFile();
  ModelRig rig = MakeRig(*file, {});
  ForwardBatch batch;
  batch.AddSequence(0, MakeTokens(16, 300, 1), Table(1));
  const auto is_written = [&](int layer) {
    const auto run = rig.arena->Run(layer, BlockId(0), 1);
    return std::any_of(run.begin(), run.end(), [](std::byte b) { return b != std::byte{0}; });
  };
  ASSERT_TRUE(rig.transformer
                  ->Forward(
                      batch,
                      [&](int layer) {
                        rig.transformer->WaitForKv();
                        EXPECT_TRUE(is_written(layer));
                        EXPECT_EQ(is_written(1), layer == 1);
                      },
                      [](int, absl::Span<const float>) {})
                  .ok());
}

TEST(TransformerTest, MoreLogitRowsThanOneGroupComeInOrder) {
  const auto file = TinyFile();
  ModelRig rig = MakeRig(*file, {});
  ForwardBatch batch;
  batch.AddSequence(0, MakeTokens(40, 300, 1), Table(3));
  for (int row = 0; row < 40; ++row) batch.logit_rows.push_back(row);
  std::vector<int> expected(40);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(RunPass(rig, batch).logit_rows, expected);
}

TEST(TransformerTest, LogitsOfARowDoNotDependOnWhichOthersAreWanted) {
  const auto file = TinyFile();
  const auto run = [&](const std::vector<int>& positions) {
    ModelRig rig = MakeRig(*file, {});
    auto sequences = PlaceSequences({MakeTokens(40, 300, 1)}, 64);
    return RunInChunks(rig, sequences, 40, positions)[0];
  };
  std::vector<int> all(40);
  std::iota(all.begin(), all.end(), 0);
  const Logits everywhere = run(all);
  for (const int position : {0, 17, 39}) {
    EXPECT_EQ(run({position}).at(position), everywhere.at(position));
  }
}

TEST(TransformerTest, TokenOutsideTheVocabularyIsRefusedBeforeAnythingIsComputed) {
  const auto file = TinyFile();
  ModelRig rig = MakeRig(*file, {});
  for (const TokenId bad : {-1, file->config().vocab_size}) {
    ForwardBatch batch;
    batch.AddSequence(0, {5, bad}, Table(1));
    const Heard heard = RunPass(rig, batch);
    EXPECT_EQ(heard.status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(heard.status.message(), HasSubstr(std::to_string(bad)));
    EXPECT_THAT(heard.layers, IsEmpty());
  }
}

TEST(TransformerTest, CallersBugsAreCaught) {
  const auto file = TinyFile();
  ModelRig rig = MakeRig(*file, {.max_batch_tokens = 8, .num_blocks = 4});
  ForwardBatch too_many;
  too_many.AddSequence(0, MakeTokens(9, 300, 1), Table(1));
  EXPECT_DEATH(RunPass(rig, too_many), "CHECK failed");
  ForwardBatch outside;
  outside.AddSequence(0, {5}, {BlockId(4)});
  EXPECT_DEATH(RunPass(rig, outside), "outside the arena");
  ForwardBatch uncovered;
  EXPECT_DEATH(uncovered.AddSequence(16, {5}, Table(1)), "does not cover");
}

TEST(TransformerTest, BackendsAgreeWhereNothingIsQuantized) {
  const auto file = TinyFile();
  const auto run = [&](BackendKind kind) {
    ModelRig rig = MakeRig(*file, {.backend = kind});
    auto sequences = PlaceSequences({MakeTokens(100, 300, 4)}, 64);
    return RunInChunks(rig, sequences, 100, {99})[0].at(99);
  };
  const std::vector<float> plain = run(BackendKind::kReference);
  const std::vector<float> fast = run(BackendKind::kAuto);
  for (size_t i = 0; i < plain.size(); ++i) ASSERT_NEAR(plain[i], fast[i], 1e-3) << i;
}

TEST(TransformerTest, SeparateLmHeadIsUsed) {
  TinyModelOptions options;
  options.tied = false;
  const auto separate = TinyFile(options);
  ASSERT_FALSE(separate->tied_lm_head());
  const auto tied = TinyFile();
  const auto run = [&](const ModelFile& file) {
    ModelRig rig = MakeRig(file, {});
    auto sequences = PlaceSequences({MakeTokens(10, 300, 4)}, 64);
    auto logits = RunInChunks(rig, sequences, 10, {9})[0].at(9);
    return std::make_pair(KvBytes(rig, sequences[0]), logits);
  };
  const auto [separate_kv, separate_logits] = run(*separate);
  const auto [tied_kv, tied_logits] = run(*tied);
  EXPECT_NE(separate_logits, tied_logits);
}

TEST(TransformerTest, LoadReportsEveryByteUpToTheWhole) {
  const auto file = TinyFile();
  ModelRig rig = MakeRig(*file, {});
  int64_t last = 0, whole = 0;
  const auto loaded =
      Transformer::Load(*file, rig.backend.get(), 16, [&](int64_t done, int64_t total) {
        EXPECT_GT(done, last);
        last = done;
        whole = total;
      });
  ASSERT_TRUE(loaded.ok());
  EXPECT_EQ(last, whole);
  EXPECT_GT(whole, 0);
}

}  // namespace
}  // namespace tandem
