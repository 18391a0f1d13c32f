#include "common/weights/model_file.h"

#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/weights/dequantize.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/weights/tiny_model.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

std::unique_ptr<ModelFile> MustParse(const std::vector<std::byte>& bytes) {
  absl::StatusOr<std::unique_ptr<ModelFile>> model = ModelFile::Parse(bytes);
  EXPECT_TRUE(model.ok()) << model.status();
  return model.ok() ? *std::move(model) : nullptr;
}

std::string FingerprintOf(GgufWriter& writer) {
  const auto model = MustParse(writer.Build());
  return model == nullptr ? "" : model->fingerprint();
}

// A file in the test's temporary folder, removed with this object.
class TemporaryFile {
 public:
  explicit TemporaryFile(absl::string_view name)
      : path_(absl::StrCat(testing::TempDir(), "/tandem-", getpid(), "-", name)) {}
  ~TemporaryFile() { std::remove(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  const std::string path_;
};

TEST(ModelFileTest, ConfigIsWhatTheKeysSay) {
  TinyModelOptions options;
  options.layers = 3;
  GgufWriter writer = TinyModelWriter(options);
  writer.SetF32("llama.rope.freq_base", 5000.0f);
  writer.SetU32("llama.rope.dimension_count", 8);
  const auto model = MustParse(writer.Build());
  const ModelConfig& config = model->config();
  EXPECT_EQ(config.name, "tiny");
  EXPECT_EQ(config.architecture, "llama");
  EXPECT_EQ(config.num_layers, 3);
  EXPECT_EQ(config.hidden_size, 64);
  EXPECT_EQ(config.ffn_size, 96);
  EXPECT_EQ(config.num_heads, 4);
  EXPECT_EQ(config.num_kv_heads, 2);
  EXPECT_EQ(config.head_dim, 16);
  EXPECT_EQ(config.rope_dim, 8);
  EXPECT_EQ(config.rope_theta, 5000.0f);
  EXPECT_EQ(config.rms_norm_eps, 1e-5f);
  EXPECT_EQ(config.vocab_size, 320);
  EXPECT_EQ(config.context_length, 512);
}

TEST(ModelFileTest, AbsentOptionalKeysTakeTheirDefaults) {
  TinyModelOptions options;
  options.kv_heads = options.heads;
  GgufWriter writer = TinyModelWriter(options);
  for (absl::string_view key :
       {"general.name", "llama.attention.head_count_kv", "llama.rope.freq_base", "llama.vocab_size",
        "tokenizer.ggml.pre", "tokenizer.ggml.token_type", "tokenizer.ggml.bos_token_id",
        "tokenizer.ggml.add_bos_token", "tokenizer.ggml.add_space_prefix",
        "tokenizer.chat_template"}) {
    writer.RemoveKey(key);
  }
  const auto model = *ModelFile::Parse(writer.Build(), "stem");
  EXPECT_EQ(model->config().name, "stem");
  EXPECT_EQ(model->config().num_kv_heads, 4);
  EXPECT_EQ(model->config().rope_theta, 10000.0f);
  EXPECT_EQ(model->config().rope_dim, 16);
  EXPECT_EQ(model->config().vocab_size, 320);
  EXPECT_EQ(model->tokenizer().pre_tokenizer, "");
  EXPECT_EQ(model->tokenizer().types[0], TokenType::kNormal);
  EXPECT_EQ(model->tokenizer().bos, std::nullopt);
  EXPECT_FALSE(model->tokenizer().add_bos);
  EXPECT_FALSE(model->tokenizer().add_space_prefix);
  EXPECT_EQ(model->tokenizer().chat_template, "");
}

TEST(ModelFileTest, SentencePieceDefaultsToBosAndSpacePrefix) {
  GgufWriter writer = TinyModelWriter({});
  writer.SetString("tokenizer.ggml.model", "llama");
  writer.RemoveKey("tokenizer.ggml.add_bos_token");
  writer.RemoveKey("tokenizer.ggml.add_space_prefix");
  const auto model = MustParse(writer.Build());
  EXPECT_TRUE(model->tokenizer().add_bos);
  EXPECT_TRUE(model->tokenizer().add_space_prefix);
}

TEST(ModelFileTest, HeadDimMayDifferFromHiddenOverHeads) {
  TinyModelOptions options;
  options.hidden = 64;
  GgufWriter writer = TinyModelWriter(options);
  // Two query heads and one KV head of 32 fit the same matrices as four and two of 16.
  writer.SetU32("llama.attention.head_count", 2);
  writer.SetU32("llama.attention.head_count_kv", 1);
  writer.SetU32("llama.attention.key_length", 32);
  EXPECT_EQ(MustParse(writer.Build())->config().head_dim, 32);
}

TEST(ModelFileTest, AnyIntegerWidthWillDo) {
  GgufWriter writer = TinyModelWriter({});
  writer.SetU64("llama.block_count", 2);
  writer.SetI32("llama.attention.head_count", 4);
  writer.SetRaw("llama.attention.head_count_kv", 0, absl::string_view("\x02", 1));
  const auto model = MustParse(writer.Build());
  EXPECT_EQ(model->config().num_layers, 2);
  EXPECT_EQ(model->config().num_heads, 4);
  EXPECT_EQ(model->config().num_kv_heads, 2);
}

TEST(ModelFileTest, TokenizerIsReadBack) {
  GgufWriter writer = TinyModelWriter({});
  writer.SetU32("tokenizer.ggml.eot_token_id", 0);
  writer.SetU32("tokenizer.ggml.eom_token_id", kTinyTurnEnd);  // the same as EOS: not a further one
  const auto model = MustParse(writer.Build());
  const TokenizerData& tokenizer = model->tokenizer();
  EXPECT_EQ(tokenizer.model, "gpt2");
  EXPECT_EQ(tokenizer.pre_tokenizer, "smollm");
  ASSERT_THAT(tokenizer.tokens, SizeIs(320));
  EXPECT_EQ(tokenizer.tokens[1], "<|im_start|>");
  EXPECT_EQ(tokenizer.tokens[kTinyFirstByte + 'a'], "a");
  EXPECT_EQ(tokenizer.tokens[kTinyFirstByte + ' '], "\u0120");
  EXPECT_EQ(tokenizer.tokens[kTinyFirstByte + 0xff], "\u00ff");
  EXPECT_EQ(tokenizer.tokens[kTinyFirstByte + 0xad], "\u0143");
  EXPECT_EQ(tokenizer.types[2], TokenType::kControl);
  EXPECT_EQ(tokenizer.types[3], TokenType::kNormal);
  ASSERT_THAT(tokenizer.merges, SizeIs(320 - 259));
  EXPECT_EQ(tokenizer.merges[0], "\u0120 t");
  EXPECT_EQ(tokenizer.tokens[259], "\u0120t");
  EXPECT_EQ(tokenizer.bos, 1);
  EXPECT_EQ(tokenizer.eos, 2);
  EXPECT_EQ(tokenizer.unknown, 0);
  EXPECT_EQ(tokenizer.padding, 2);
  EXPECT_THAT(tokenizer.end_of_turn, ElementsAre(0));
  EXPECT_THAT(tokenizer.chat_template, HasSubstr("add_generation_prompt"));
}

class ModelFileDTypeTest : public testing::TestWithParam<DType> {};

TEST_P(ModelFileDTypeTest, TensorsHoldTheWeightsThatWereWritten) {
  TinyModelOptions exact;
  TinyModelOptions options;
  options.dtype = GetParam();
  const auto expected = MustParse(TinyModelBytes(exact));
  const auto model = MustParse(TinyModelBytes(options));
  const TensorView* view = model->FindTensor("blk.1.ffn_down.weight");
  ASSERT_NE(view, nullptr);
  EXPECT_EQ(view->type, GetParam());
  EXPECT_EQ(view->cols, 96);
  EXPECT_EQ(view->rows, 64);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(view->data.data()) % 32, 0u);
  std::vector<float> actual_row(96), expected_row(96);
  for (int64_t row : {0, 63}) {
    DequantizeRow(*view, row, absl::MakeSpan(actual_row));
    DequantizeRow(*expected->FindTensor("blk.1.ffn_down.weight"), row,
                  absl::MakeSpan(expected_row));
    // Weights lie within 0.18; the coarsest encoding has steps of about an eighth of that.
    EXPECT_THAT(actual_row, testing::Pointwise(testing::FloatNear(0.025f), expected_row));
  }
}

INSTANTIATE_TEST_SUITE_P(All, ModelFileDTypeTest,
                         testing::Values(DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0,
                                         DType::kQ4_0, DType::kQ4_1),
                         [](const auto& info) { return std::string(DTypeName(info.param)); });

TEST(ModelFileTest, HeadIsTiedUnlessTheFileHasOne) {
  TinyModelOptions options;
  const auto tied = MustParse(TinyModelBytes(options));
  EXPECT_TRUE(tied->tied_lm_head());
  EXPECT_EQ(&tied->lm_head(), tied->FindTensor("token_embd.weight"));
  options.tied = false;
  const auto separate = MustParse(TinyModelBytes(options));
  EXPECT_FALSE(separate->tied_lm_head());
  EXPECT_EQ(separate->lm_head().name, "output.weight");
}

TEST(ModelFileTest, ExtraTensorsAreListedAndUnused) {
  GgufWriter writer = TinyModelWriter({});
  writer.AddWeights("something.else", DType::kF32, 3, 0, std::vector<float>{1, 2, 3});
  const auto model = MustParse(writer.Build());
  EXPECT_EQ(model->tensors().back().name, "something.else");
}

TEST(ModelFileTest, UnknownKeysOfAllKindsAreSkipped) {
  GgufWriter writer = TinyModelWriter({});
  writer.SetStrings("x.strings", {"a", "", "b"});
  // An array of two arrays, of one bool and of no string.
  const std::string nested(
      "\x09\0\0\0\x02\0\0\0\0\0\0\0"
      "\x07\0\0\0\x01\0\0\0\0\0\0\0\x01"
      "\x08\0\0\0\0\0\0\0\0\0\0\0",
      12 + 13 + 12);
  writer.SetRaw("x.nested", 9, nested);
  EXPECT_NE(MustParse(writer.Build()), nullptr);
}

TEST(ModelFileTest, AlignmentKeyMovesTheData) {
  for (uint32_t alignment : {8u, 256u}) {
    GgufWriter writer = TinyModelWriter({});
    writer.SetU32("general.alignment", alignment);
    writer.set_alignment(alignment);
    const auto model = MustParse(writer.Build());
    std::vector<float> norm(64);
    DequantizeRow(*model->FindTensor("output_norm.weight"), 0, absl::MakeSpan(norm));
    EXPECT_THAT(norm, testing::Each(testing::FloatNear(1.0f, 0.2f)));
  }
}

TEST(ModelFileTest, UnknownTensorIsNotFound) {
  const auto model = MustParse(TinyModelBytes({}));
  EXPECT_EQ(model->FindTensor("nope"), nullptr);
  EXPECT_EQ(model->tensor("nope").status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(model->tensor("nope").status().message(), HasSubstr("'nope'"));
  EXPECT_EQ(model->tensor("output_norm.weight")->cols, 64);
}

TEST(ModelFileTest, FingerprintIgnoresOrderNameAndTemplate) {
  GgufWriter writer = TinyModelWriter({});
  const std::string fingerprint = FingerprintOf(writer);
  EXPECT_THAT(fingerprint, testing::MatchesRegex("[0-9a-f]{32}"));
  std::swap(writer.tensors().front(), writer.tensors().back());
  writer.SetString("general.name", "another");
  writer.SetString("tokenizer.chat_template", "{{ messages }}");
  EXPECT_EQ(FingerprintOf(writer), fingerprint);
}

TEST(ModelFileTest, FingerprintSeesOneBitOfAnyWeight) {
  GgufWriter writer = TinyModelWriter({});
  const std::string fingerprint = FingerprintOf(writer);
  for (GgufWriter::Tensor& tensor : writer.tensors()) {
    tensor.data.back() ^= std::byte{1};
    EXPECT_NE(FingerprintOf(writer), fingerprint) << tensor.name;
    tensor.data.back() ^= std::byte{1};
  }
  EXPECT_EQ(FingerprintOf(writer), fingerprint);
}

TEST(ModelFileTest, FingerprintSeesTheConfigAndTheVocabulary) {
  GgufWriter writer = TinyModelWriter({});
  const std::string fingerprint = FingerprintOf(writer);
  GgufWriter theta = TinyModelWriter({});
  theta.SetF32("llama.rope.freq_base", 10001.0f);
  EXPECT_NE(FingerprintOf(theta), fingerprint);
  GgufWriter eos = TinyModelWriter({});
  eos.SetU32("tokenizer.ggml.eos_token_id", 0);
  EXPECT_NE(FingerprintOf(eos), fingerprint);
}

TEST(ModelFileTest, OpenedFileEqualsParsedBytes) {
  const TemporaryFile file("opened.gguf");
  ASSERT_TRUE(WriteTinyModel(file.path(), {}).ok());
  const auto opened = ModelFile::Open(file.path());
  ASSERT_TRUE(opened.ok()) << opened.status();
  const auto parsed = MustParse(TinyModelBytes({}));
  EXPECT_EQ((*opened)->fingerprint(), parsed->fingerprint());
  EXPECT_EQ((*opened)->file_bytes(), parsed->file_bytes());
  EXPECT_EQ((*opened)->FindTensor("output_norm.weight")->data,
            parsed->FindTensor("output_norm.weight")->data);
}

TEST(ModelFileTest, OpenNamesTheFileThatItCannotRead) {
  const auto missing = ModelFile::Open("/nonexistent/model.gguf");
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(missing.status().message(), HasSubstr("/nonexistent/model.gguf"));

  const auto folder = ModelFile::Open(testing::TempDir());
  EXPECT_EQ(folder.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(folder.status().message(), HasSubstr("no regular file"));

  const TemporaryFile empty("empty.gguf");
  ASSERT_TRUE(WriteBytes(empty.path(), {}).ok());
  EXPECT_THAT(ModelFile::Open(empty.path()).status().message(), HasSubstr("is empty"));

  const TemporaryFile text("text.gguf");
  const std::vector<std::byte> bytes(100, std::byte{'x'});
  ASSERT_TRUE(WriteBytes(text.path(), bytes).ok());
  const auto not_gguf = ModelFile::Open(text.path());
  EXPECT_EQ(not_gguf.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(not_gguf.status().message(), HasSubstr(text.path()));
  EXPECT_THAT(not_gguf.status().message(), HasSubstr("not a GGUF file"));
}

}  // namespace
}  // namespace tandem
