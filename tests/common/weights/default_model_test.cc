// The model that Tandem is tried with: SmolLM2-135M-Instruct, Q4_1.

#include <cstdlib>
#include <vector>

#include "common/weights/dequantize.h"
#include "common/weights/model_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

class DefaultModelTest : public testing::Test {
 protected:
  void SetUp() override {
    const char* path = std::getenv("TANDEM_TEST_MODEL");
    if (path == nullptr) GTEST_SKIP() << "TANDEM_TEST_MODEL does not name the default model's file";
    absl::StatusOr<std::unique_ptr<ModelFile>> model = ModelFile::Open(path);
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
  }

  std::unique_ptr<ModelFile> model_;
};

TEST_F(DefaultModelTest, HasItsConfig) {
  const ModelConfig& config = model_->config();
  EXPECT_EQ(config.name, "Smollm2 135M 8k Lc100K Mix1 Ep2");
  EXPECT_EQ(config.num_layers, 30);
  EXPECT_EQ(config.hidden_size, 576);
  EXPECT_EQ(config.ffn_size, 1536);
  EXPECT_EQ(config.num_heads, 9);
  EXPECT_EQ(config.num_kv_heads, 3);
  EXPECT_EQ(config.head_dim, 64);
  EXPECT_EQ(config.rope_dim, 64);
  EXPECT_EQ(config.rope_theta, 100000.0f);
  EXPECT_EQ(config.rms_norm_eps, 1e-5f);
  EXPECT_EQ(config.vocab_size, 49152);
  EXPECT_EQ(config.context_length, 8192);
  EXPECT_TRUE(model_->tied_lm_head());
  EXPECT_EQ(model_->file_bytes(), 98362432u);
}

TEST_F(DefaultModelTest, HasItsTokenizer) {
  const TokenizerData& tokenizer = model_->tokenizer();
  EXPECT_EQ(tokenizer.model, "gpt2");
  EXPECT_EQ(tokenizer.pre_tokenizer, "smollm");
  EXPECT_EQ(tokenizer.tokens.size(), 49152u);
  EXPECT_EQ(tokenizer.merges.size(), 48900u);
  EXPECT_EQ(tokenizer.tokens[2], "<|im_end|>");
  EXPECT_EQ(tokenizer.types[16], TokenType::kControl);
  EXPECT_EQ(tokenizer.types[17], TokenType::kNormal);
  EXPECT_EQ(tokenizer.bos, 1);
  EXPECT_EQ(tokenizer.eos, 2);
  EXPECT_EQ(tokenizer.unknown, 0);
  EXPECT_EQ(tokenizer.padding, 2);
  EXPECT_FALSE(tokenizer.add_bos);
  EXPECT_FALSE(tokenizer.add_space_prefix);
  EXPECT_THAT(tokenizer.chat_template, testing::HasSubstr("<|im_start|>assistant"));
}

TEST_F(DefaultModelTest, HasItsTensors) {
  EXPECT_EQ(model_->tensors().size(), 272u);
  EXPECT_EQ(model_->FindTensor("token_embd.weight")->type, DType::kQ8_0);
  const TensorView* down = model_->FindTensor("blk.29.ffn_down.weight");
  ASSERT_NE(down, nullptr);
  EXPECT_EQ(down->type, DType::kQ4_1);
  EXPECT_EQ(down->cols, 1536);
  EXPECT_EQ(down->rows, 576);
}

// The expected numbers come from a separate decoder, in Python.
TEST_F(DefaultModelTest, RowsDecodeToItsWeights) {
  std::vector<float> row(576);
  DequantizeRow(*model_->FindTensor("token_embd.weight"), 1000, absl::MakeSpan(row));
  EXPECT_EQ(row[0], -0.1119384765625f);
  EXPECT_EQ(row[1], -0.0739593505859375f);
  EXPECT_EQ(row[575], 0.11810302734375f);
  DequantizeRow(*model_->FindTensor("blk.0.attn_k.weight"), 191, absl::MakeSpan(row));
  EXPECT_EQ(row[0], 0.015869140625f);
  EXPECT_EQ(row[1], -0.4342041015625f);
  EXPECT_EQ(row[575], 0.3636474609375f);
  DequantizeRow(*model_->FindTensor("output_norm.weight"), 0, absl::MakeSpan(row));
  EXPECT_EQ(row[0], 1.7578125f);
  EXPECT_EQ(row[575], 1.984375f);
}

TEST_F(DefaultModelTest, HasItsFingerprint) {
  EXPECT_EQ(model_->fingerprint(), "71e9503d3fb9519adf7e58474d16e7bc");
}

}  // namespace
}  // namespace tandem
