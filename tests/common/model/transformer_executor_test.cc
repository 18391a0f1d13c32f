#include "common/model/transformer_executor.h"

#include <gmock/gmock.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "tests/common/model/layer_watcher.h"
#include "tests/common/model/model_rig.h"
#include "tests/common/weights/tiny_model.h"

namespace tandem {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::shared_ptr<const SamplingParams> GreedyParams() {
  auto params = std::make_shared<SamplingParams>();
  params->temperature = 0;
  params->top_logprobs = 1;
  return params;
}

StepSequence MakeSequence(uint64_t key, uint32_t start, std::vector<TokenId> tokens,
                          uint32_t first_block, bool sample) {
  StepSequence sequence;
  sequence.key = SequenceKey(key);
  sequence.start = start;
  for (uint32_t i = 0; i < 3; ++i) sequence.block_table.push_back(BlockId(first_block + i));
  sequence.tokens = std::move(tokens);
  if (sample) {
    sequence.sample =
        SampleRequest{.params = GreedyParams(), .choice = 0, .output_index = 0, .banned = {}};
  }
  return sequence;
}

StepPlan MakePlan(std::vector<StepSequence> sequences) {
  return {.id = StepId(7), .sequences = std::move(sequences), .report_layers = false};
}

class TransformerExecutorTest : public ::testing::Test {
 protected:
  explicit TransformerExecutorTest(GgufWriter writer = TinyModelWriter({}))
      : file_(ModelFile::Parse(writer.Build()).value()),
        rig_(MakeRig(*file_, {.threads = 2})),
        executor_(rig_.transformer.get(), rig_.team.get()) {}

  StepDone Execute(std::vector<StepSequence> sequences) {
    LayerWatcher watcher;
    return executor_.Execute(MakePlan(std::move(sequences)), &watcher);
  }

  std::unique_ptr<ModelFile> file_;
  ModelRig rig_;
  TransformerExecutor executor_;
};

TEST_F(TransformerExecutorTest, SamplesOnlyWhereAskedInPlanOrder) {
  const StepDone done =
      Execute({MakeSequence(5, 0, {10, 11, 12}, 0, true), MakeSequence(3, 0, {20, 21}, 3, false),
               MakeSequence(9, 0, {30}, 6, true)});
  ASSERT_TRUE(done.status.ok()) << done.status;
  EXPECT_EQ(done.step, StepId(7));
  ASSERT_EQ(done.sampled.size(), 2u);
  EXPECT_EQ(done.sampled[0].key, SequenceKey(5));
  EXPECT_EQ(done.sampled[1].key, SequenceKey(9));
}

TEST_F(TransformerExecutorTest, TokenIsDrawnAfterTheSequencesLastToken) {
  auto alone = PlaceSequences({{10, 11, 12}}, 64);
  ModelRig other = MakeRig(*file_, {});
  const std::vector<float> logits = RunInChunks(other, alone, 1, {2})[0].at(2);
  const TokenId best =
      static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());

  // The same, with company, in two steps.
  ASSERT_TRUE(Execute({MakeSequence(1, 0, {10, 11}, 0, false)}).status.ok());
  const StepDone done =
      Execute({MakeSequence(2, 0, {40, 41, 42}, 3, true), MakeSequence(1, 2, {12}, 0, true)});
  ASSERT_EQ(done.sampled.size(), 2u);
  EXPECT_EQ(done.sampled[1].token, best);
  ASSERT_TRUE(done.sampled[1].logprobs.has_value());
  EXPECT_EQ(done.sampled[1].logprobs->chosen.token, best);
  EXPECT_EQ(done.sampled[1].logprobs->top.size(), 1u);
}

// Wants some sequences no more after the first layer, and keeps what their blocks hold then.
class DroppingWatcher final : public StepWatcher {
 public:
  DroppingWatcher(std::vector<SequenceKey> unwanted, std::function<void()> on_dropped)
      : unwanted_(std::move(unwanted)), on_dropped_(std::move(on_dropped)) {}
  void OnLayer(uint32_t) override { ++layers_; }
  std::vector<SequenceKey> Unwanted() override { return std::exchange(unwanted_, {}); }
  void OnDropped(SequenceKey) override { on_dropped_(); }
  int layers() const { return layers_; }

 private:
  std::vector<SequenceKey> unwanted_;
  const std::function<void()> on_dropped_;
  int layers_ = 0;
};

TEST_F(TransformerExecutorTest, DroppedSequenceIsNotWrittenAnyMoreAndChangesNothingForOthers) {
  const std::vector<StepSequence> both = {MakeSequence(1, 0, {10, 11, 12}, 0, true),
                                          MakeSequence(2, 0, MakeTokens(30, 300, 1), 3, true),
                                          MakeSequence(3, 0, {20, 21}, 6, true)};
  const StepDone undisturbed = Execute(both);
  const auto kv = [&](uint32_t first_block) {
    const auto run = rig_.arena->Run(1, BlockId(first_block), 3);
    return std::vector<std::byte>(run.begin(), run.end());
  };
  const std::vector<std::byte> first_kv = kv(0), last_kv = kv(6);
  const auto all = rig_.arena->Whole();
  std::fill(all.begin(), all.end(), std::byte{0});

  int dropped = 0;
  DroppingWatcher watcher({SequenceKey(2)}, [&] { ++dropped; });
  const StepDone done = executor_.Execute(MakePlan(both), &watcher);
  ASSERT_TRUE(done.status.ok()) << done.status;
  EXPECT_EQ(dropped, 1);
  ASSERT_EQ(done.sampled.size(), 2u);
  EXPECT_EQ(done.sampled[0].key, SequenceKey(1));
  EXPECT_EQ(done.sampled[0].logprobs, undisturbed.sampled[0].logprobs);
  EXPECT_EQ(done.sampled[1].key, SequenceKey(3));
  EXPECT_EQ(done.sampled[1].logprobs, undisturbed.sampled[2].logprobs);
  EXPECT_EQ(kv(0), first_kv);
  EXPECT_EQ(kv(6), last_kv);
  EXPECT_THAT(kv(3), Each(std::byte{0}));  // of the second layer
}

TEST_F(TransformerExecutorTest, AStepThatNobodyWantsEndsAtTheNextLayer) {
  DroppingWatcher watcher({SequenceKey(1)}, [] {});
  const StepDone done =
      executor_.Execute(MakePlan({MakeSequence(1, 0, {10, 11}, 0, true)}), &watcher);
  EXPECT_TRUE(done.status.ok()) << done.status;
  EXPECT_THAT(done.sampled, IsEmpty());
  EXPECT_EQ(watcher.layers(), 1);
}

TEST_F(TransformerExecutorTest, LayersAreReportedWithReadableKv) {
  StepPlan plan = MakePlan({MakeSequence(1, 0, MakeTokens(16, 300, 1), 0, false)});
  plan.report_layers = true;
  std::vector<uint32_t> layers;
  LayerWatcher watcher([&](uint32_t layer) {
    layers.push_back(layer);
    const auto run = rig_.arena->Run(layer, BlockId(0), 1);
    EXPECT_TRUE(std::any_of(run.begin(), run.end(), [](std::byte b) { return b != std::byte{0}; }));
  });
  const StepDone done = executor_.Execute(plan, &watcher);
  EXPECT_TRUE(done.status.ok());
  EXPECT_THAT(layers, ElementsAre(0, 1));
  EXPECT_THAT(done.sampled, IsEmpty());
}

TEST_F(TransformerExecutorTest, BannedTokenIsNotChosen) {
  const TokenId best = Execute({MakeSequence(1, 0, {10}, 0, true)}).sampled[0].token;
  StepSequence sequence = MakeSequence(1, 0, {10}, 0, true);
  sequence.sample->banned = {best};
  EXPECT_NE(Execute({sequence}).sampled[0].token, best);
}

TEST_F(TransformerExecutorTest, SequenceWithEveryTokenBannedFailsAloneAndChangesNothingForOthers) {
  const auto sequences = std::vector<StepSequence>{MakeSequence(1, 0, {10}, 0, true),
                                                   MakeSequence(2, 0, {11}, 3, true),
                                                   MakeSequence(3, 0, {12}, 6, true)};
  const StepDone undisturbed = Execute(sequences);
  std::vector<StepSequence> banned = sequences;
  for (TokenId token = 0; token < rig_.transformer->config().vocab_size; ++token) {
    banned[1].sample->banned.push_back(token);
  }
  const StepDone done = Execute(banned);
  ASSERT_TRUE(done.status.ok()) << done.status;
  ASSERT_EQ(done.sampled.size(), 3u);
  EXPECT_EQ(done.sampled[1].status.code(), absl::StatusCode::kInvalidArgument);
  for (const int other : {0, 2}) {
    EXPECT_TRUE(done.sampled[other].status.ok());
    EXPECT_EQ(done.sampled[other].token, undisturbed.sampled[other].token);
    EXPECT_EQ(done.sampled[other].logprobs, undisturbed.sampled[other].logprobs);
  }
}

TEST_F(TransformerExecutorTest, TokenOutsideTheVocabularyFailsTheStep) {
  const StepDone done = Execute({MakeSequence(1, 0, {100000}, 0, true)});
  EXPECT_EQ(done.status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(done.sampled, IsEmpty());
}

GgufWriter PoisonedModel() {
  GgufWriter writer = TinyModelWriter({});
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::memcpy(writer.tensor("output_norm.weight").data.data(), &nan, sizeof(nan));
  return writer;
}

class PoisonedModelTest : public TransformerExecutorTest {
 protected:
  PoisonedModelTest() : TransformerExecutorTest(PoisonedModel()) {}
};

TEST_F(PoisonedModelTest, LogitsThatAreNotNumbersFailTheirSequence) {
  const StepDone done =
      Execute({MakeSequence(5, 0, {10}, 0, false), MakeSequence(8, 0, {11}, 3, true)});
  EXPECT_TRUE(done.status.ok()) << done.status;
  ASSERT_EQ(done.sampled.size(), 1u);
  EXPECT_EQ(done.sampled[0].key, SequenceKey(8));
  EXPECT_EQ(done.sampled[0].status.code(), absl::StatusCode::kInternal);
}

}  // namespace
}  // namespace tandem
