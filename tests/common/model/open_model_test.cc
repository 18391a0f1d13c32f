#include "common/model/open_model.h"

#include <gmock/gmock.h>

#include <string>

#include "tests/common/weights/tiny_model.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class OpenModelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    options_.path = ::testing::TempDir() + "/open_model_test.gguf";
    options_.num_blocks = 8;
    options_.max_batch_tokens = 32;
    ASSERT_TRUE(WriteTinyModel(options_.path, {}).ok());
  }
  void TearDown() override { std::remove(options_.path.c_str()); }

  OpenModelOptions options_;
};

TEST_F(OpenModelTest, GivesEverythingThatARunnerNeeds) {
  int reports = 0;
  options_.report = [&](int64_t done, int64_t total) {
    EXPECT_LE(done, total);
    ++reports;
  };
  const auto model = OpenModel(options_);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_THAT((*model)->end_tokens, ElementsAre(kTinyTurnEnd));
  EXPECT_EQ((*model)->arena->shape().num_blocks, 8u);
  EXPECT_GT(reports, 3);
  ForwardBatch batch;
  batch.AddSequence(0, {5, 6, 7}, {BlockId(7)});
  batch.logit_rows = {2};
  int logits = 0;
  EXPECT_TRUE((*model)
                  ->transformer
                  ->Forward(
                      batch, [](int) {}, [&](int, absl::Span<const float>) { ++logits; })
                  .ok());
  EXPECT_EQ(logits, 1);
}

TEST_F(OpenModelTest, TermsNameModelBackendAndShape) {
  options_.backend = BackendKind::kReference;
  options_.kv_element = KvElement::kF32;
  const auto plain = OpenModel(options_);
  ASSERT_TRUE(plain.ok());
  const KvTerms& terms = (*plain)->kv_terms;
  EXPECT_EQ(terms.numeric_profile, "reference/f32");
  EXPECT_EQ(terms.kv_type, "f32");
  EXPECT_EQ(terms.num_layers, 2u);
  EXPECT_EQ(terms.num_kv_heads, 2u);
  EXPECT_EQ(terms.head_dim, 16u);
  EXPECT_FALSE(terms.model_fingerprint.empty());
  EXPECT_EQ(terms.layout, "layer,block,kv,head,token,dim");

  // The number of blocks and of threads is nobody else's business.
  options_.num_blocks = 16;
  options_.threads = 2;
  EXPECT_EQ((*OpenModel(options_))->kv_terms, terms);
  options_.kv_element = KvElement::kF16;
  EXPECT_EQ((*OpenModel(options_))->kv_terms.numeric_profile, "reference/f16");
}

TEST_F(OpenModelTest, TooLittleMemoryIsSaidWithBothFiguresBeforeAllocating) {
  options_.num_blocks = 4'000'000'000;  // 15 TiB of this model's blocks
  const auto model = OpenModel(options_);
  EXPECT_EQ(model.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(model.status().message(), HasSubstr("15258.8 GiB"));
  EXPECT_THAT(model.status().message(), HasSubstr("are available"));
}

TEST_F(OpenModelTest, MemoryThatIsJustEnoughIsEnough) {
  const MemoryNeed need{.weights = 100, .kv = 20, .activations = 3};
  EXPECT_TRUE(CheckMemory(need, 123, "a limit").ok());
  const absl::Status short_by_one = CheckMemory(need, 122, "a limit");
  EXPECT_EQ(short_by_one.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(short_by_one.message(), HasSubstr("a limit"));
}

TEST_F(OpenModelTest, EstimateCoversWhatIsAllocated) {
  const auto file = ModelFile::Open(options_.path).value();
  for (const BackendKind backend : {BackendKind::kReference, BackendKind::kAuto}) {
    options_.backend = backend;
    const MemoryNeed need = EstimateMemory(*file, options_);
    const auto model = OpenModel(options_);
    ASSERT_TRUE(model.ok());
    EXPECT_GE(need.weights, static_cast<uint64_t>((*model)->transformer->weight_bytes()));
    EXPECT_EQ(need.kv, (*model)->arena->Whole().size());
  }
}

TEST_F(OpenModelTest, BadOptionsAndFilesAreErrors) {
  OpenModelOptions bad = options_;
  bad.threads = 0;
  EXPECT_EQ(OpenModel(bad).status().code(), absl::StatusCode::kInvalidArgument);
  bad = options_;
  bad.max_batch_tokens = 0;
  EXPECT_EQ(OpenModel(bad).status().code(), absl::StatusCode::kInvalidArgument);
  bad = options_;
  bad.num_blocks = 0;
  EXPECT_EQ(OpenModel(bad).status().code(), absl::StatusCode::kInvalidArgument);
  bad = options_;
  bad.path += ".missing";
  EXPECT_EQ(OpenModel(bad).status().code(), absl::StatusCode::kNotFound);
}

TEST(OpenModelNamesTest, OptionsAreParsedFromTheirNames) {
  EXPECT_EQ(*ParseBackendKind("auto"), BackendKind::kAuto);
  EXPECT_EQ(*ParseBackendKind("reference"), BackendKind::kReference);
  EXPECT_EQ(*ParseBackendKind("cpu"), BackendKind::kCpu);
  EXPECT_FALSE(ParseBackendKind("gpu").ok());
  EXPECT_EQ(*ParseKvElement("f16"), KvElement::kF16);
  EXPECT_EQ(*ParseKvElement("f32"), KvElement::kF32);
  EXPECT_FALSE(ParseKvElement("q8").ok());
}

}  // namespace
}  // namespace tandem
