// Each way in which a model file can be wrong, and what the error has to say about it.

#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "common/weights/model_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/weights/tiny_model.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;

struct Damage {
  std::string name;
  std::function<void(GgufWriter&)> edit;
  std::vector<std::string> message;  // parts of it
  absl::StatusCode code = absl::StatusCode::kInvalidArgument;
};

class ModelFileDamageTest : public testing::TestWithParam<Damage> {};

TEST_P(ModelFileDamageTest, IsNamed) {
  GgufWriter writer = TinyModelWriter({});
  GetParam().edit(writer);
  const absl::Status status = ModelFile::Parse(writer.Build()).status();
  EXPECT_EQ(status.code(), GetParam().code) << status;
  for (const std::string& part : GetParam().message) {
    EXPECT_THAT(std::string(status.message()), HasSubstr(part));
  }
}

constexpr auto kUnimplemented = absl::StatusCode::kUnimplemented;

const std::vector<Damage> kKeyDamages = {
    {"MissingKey",
     [](GgufWriter& w) { w.RemoveKey("llama.block_count"); },
     {"key 'llama.block_count'", "missing"}},
    {"KeyTwice",
     [](GgufWriter& w) { w.RepeatKey("llama.block_count"); },
     {"key 'llama.block_count'", "twice"}},
    {"WrongType",
     [](GgufWriter& w) { w.SetString("llama.block_count", "two"); },
     {"key 'llama.block_count'", "expected an integer", "found string"}},
    {"ArrayForNumber",
     [](GgufWriter& w) {
       w.SetI32s("llama.attention.head_count", {4, 4});
     },
     {"key 'llama.attention.head_count'", "found array of 2 int32"}},
    {"NumberForArray",
     [](GgufWriter& w) { w.SetU32("tokenizer.ggml.tokens", 3); },
     {"key 'tokenizer.ggml.tokens'", "expected an array of strings", "found uint32"}},
    {"StringsForNumbers",
     [](GgufWriter& w) { w.SetStrings("tokenizer.ggml.token_type", {"a"}); },
     {"key 'tokenizer.ggml.token_type'", "expected an array of integers"}},
    {"IntegerForFloat",
     [](GgufWriter& w) { w.SetU32("llama.rope.freq_base", 10000); },
     {"key 'llama.rope.freq_base'", "expected a float"}},
    {"UnknownValueType",
     [](GgufWriter& w) { w.SetRaw("x", 13, ""); },
     {"key 'x'", "unknown value type 13"}},
    {"UnknownElementType",
     [](GgufWriter& w) { w.SetRaw("x", 9, std::string("\x63\0\0\0\x01\0\0\0\0\0\0\0", 12)); },
     {"key 'x'", "unknown value type 99"}},
    {"BoolOfTwo",
     [](GgufWriter& w) { w.SetRaw("tokenizer.ggml.add_bos_token", 7, "\x02"); },
     {"key 'tokenizer.ggml.add_bos_token'", "found 2"}},
    {"ZeroLayers",
     [](GgufWriter& w) { w.SetU32("llama.block_count", 0); },
     {"key 'llama.block_count'", "0 is not within"}},
    {"HugeLayers",
     [](GgufWriter& w) { w.SetU32("llama.block_count", 0xffffffff); },
     {"key 'llama.block_count'", "4294967295"}},
    {"HugeUnsigned",
     [](GgufWriter& w) { w.SetU64("llama.block_count", ~uint64_t{0}); },
     {"key 'llama.block_count'", "is not within"}},
    {"NegativeHeads",
     [](GgufWriter& w) { w.SetI32("llama.attention.head_count", -4); },
     {"key 'llama.attention.head_count'", "-4"}},
    {"MoreKvHeadsThanHeads",
     [](GgufWriter& w) { w.SetU32("llama.attention.head_count_kv", 8); },
     {"key 'llama.attention.head_count_kv'", "8"}},
    {"KvHeadsDoNotDivide",
     [](GgufWriter& w) { w.SetU32("llama.attention.head_count_kv", 3); },
     {"key 'llama.attention.head_count_kv'", "3 does not divide the 4"}},
    {"HeadsDoNotDivide",
     [](GgufWriter& w) {
       w.SetU32("llama.attention.head_count", 3);
       w.SetU32("llama.attention.head_count_kv", 1);
     },
     {"key 'llama.attention.head_count'", "3 does not divide"}},
    {"OddRopeDim",
     [](GgufWriter& w) { w.SetU32("llama.rope.dimension_count", 7); },
     {"key 'llama.rope.dimension_count'", "odd", "7"}},
    {"RopeDimBeyondHead",
     [](GgufWriter& w) { w.SetU32("llama.rope.dimension_count", 32); },
     {"key 'llama.rope.dimension_count'", "32 is not within 1 to 16"}},
    {"ThetaNotANumber",
     [](GgufWriter& w) { w.SetF32("llama.rope.freq_base", std::nanf("")); },
     {"key 'llama.rope.freq_base'", "nan"}},
    {"ThetaNegative",
     [](GgufWriter& w) { w.SetF32("llama.rope.freq_base", -1.0f); },
     {"key 'llama.rope.freq_base'", "-1"}},
    {"EpsilonNotANumber",
     [](GgufWriter& w) { w.SetF32("llama.attention.layer_norm_rms_epsilon", std::nanf("")); },
     {"key 'llama.attention.layer_norm_rms_epsilon'", "nan"}},
    {"EpsilonMissing",
     [](GgufWriter& w) { w.RemoveKey("llama.attention.layer_norm_rms_epsilon"); },
     {"key 'llama.attention.layer_norm_rms_epsilon'", "missing"}},
    {"VocabSizeContradicts",
     [](GgufWriter& w) { w.SetU32("llama.vocab_size", 321); },
     {"key 'llama.vocab_size'", "321", "320"}},
    {"AlignmentNoPower",
     [](GgufWriter& w) { w.SetU32("general.alignment", 48); },
     {"key 'general.alignment'", "48"}},
    {"AlignmentZero",
     [](GgufWriter& w) { w.SetU32("general.alignment", 0); },
     {"key 'general.alignment'", "0"}},
    {"NameNotUtf8",
     [](GgufWriter& w) { w.SetString("general.name", "\xff"); },
     {"key 'general.name'", "UTF-8"}},
    {"OtherArchitecture",
     [](GgufWriter& w) { w.SetString("general.architecture", "qwen2"); },
     {"key 'general.architecture'", "'qwen2'"},
     kUnimplemented},
    {"RopeScaling",
     [](GgufWriter& w) { w.SetString("llama.rope.scaling.type", "yarn"); },
     {"key 'llama.rope.scaling.type'", "'yarn'"},
     kUnimplemented},
    {"OldRopeScaling",
     [](GgufWriter& w) { w.SetF32("llama.rope.scale_linear", 4.0f); },
     {"key 'llama.rope.scale_linear'", "4"},
     kUnimplemented},
    {"Experts",
     [](GgufWriter& w) { w.SetU32("llama.expert_count", 8); },
     {"key 'llama.expert_count'", "8"},
     kUnimplemented},
    {"OtherValueLength",
     [](GgufWriter& w) { w.SetU32("llama.attention.value_length", 8); },
     {"key 'llama.attention.value_length'", "8", "16"},
     kUnimplemented},
};

const std::vector<Damage> kTokenizerDamages = {
    {"NoTokens",
     [](GgufWriter& w) { w.RemoveKey("tokenizer.ggml.tokens"); },
     {"key 'tokenizer.ggml.tokens'", "missing"}},
    {"EmptyTokens",
     [](GgufWriter& w) { w.SetStrings("tokenizer.ggml.tokens", {}); },
     {"key 'tokenizer.ggml.tokens'", "empty"}},
    {"SameTokenTwice",
     [](GgufWriter& w) {
       w.SetStrings("tokenizer.ggml.tokens", {"a", "b", "a"});
     },
     {"key 'tokenizer.ggml.tokens'", "tokens 0 and 2 are both 'a'"}},
    {"TokenNotUtf8",
     [](GgufWriter& w) {
       w.SetStrings("tokenizer.ggml.tokens", {"a", "\xc0\x80"});
     },
     {"key 'tokenizer.ggml.tokens'", "element 1", "UTF-8"}},
    {"TypesTooFew",
     [](GgufWriter& w) {
       w.SetI32s("tokenizer.ggml.token_type", {1, 1});
     },
     {"key 'tokenizer.ggml.token_type'", "2 elements for 320"}},
    {"TypeUnknown",
     [](GgufWriter& w) { w.SetI32s("tokenizer.ggml.token_type", std::vector<int32_t>(320, 7)); },
     {"key 'tokenizer.ggml.token_type'", "token 0", "7"}},
    {"MergeIsNoPair",
     [](GgufWriter& w) {
       w.SetStrings("tokenizer.ggml.merges", {"a b", "ab"});
     },
     {"key 'tokenizer.ggml.merges'", "element 1 'ab'"}},
    {"MergeWithoutRightSide",
     [](GgufWriter& w) { w.SetStrings("tokenizer.ggml.merges", {"a "}); },
     {"key 'tokenizer.ggml.merges'", "element 0"}},
    {"EosOutside",
     [](GgufWriter& w) { w.SetU32("tokenizer.ggml.eos_token_id", 320); },
     {"key 'tokenizer.ggml.eos_token_id'", "320 is not within 0 to 319"}},
    {"EotOutside",
     [](GgufWriter& w) { w.SetU32("tokenizer.ggml.eot_token_id", 0xffffffff); },
     {"key 'tokenizer.ggml.eot_token_id'"}},
    {"AddBosWithoutBos",
     [](GgufWriter& w) {
       w.SetBool("tokenizer.ggml.add_bos_token", true);
       w.RemoveKey("tokenizer.ggml.bos_token_id");
     },
     {"key 'tokenizer.ggml.add_bos_token'", "bos_token_id"}},
    {"NoModel",
     [](GgufWriter& w) { w.RemoveKey("tokenizer.ggml.model"); },
     {"key 'tokenizer.ggml.model'", "missing"}},
};

const std::vector<Damage> kTensorDamages = {
    {"MissingTensor",
     [](GgufWriter& w) { w.RemoveTensor("blk.1.attn_k.weight"); },
     {"tensor 'blk.1.attn_k.weight'", "missing"}},
    {"MissingLayer",
     [](GgufWriter& w) { w.SetU32("llama.block_count", 3); },
     {"tensor 'blk.2.attn_norm.weight'", "missing"}},
    {"TensorTwice",
     [](GgufWriter& w) { w.AddTensor(w.tensor("output_norm.weight")); },
     {"tensor 'output_norm.weight'", "twice"}},
    {"WrongShape",
     [](GgufWriter& w) { w.SetU32("llama.feed_forward_length", 128); },
     {"tensor 'blk.0.ffn_gate.weight'", "[64, 96]", "[64, 128]"}},
    {"MatrixForVector",
     [](GgufWriter& w) {
       w.tensor("output_norm.weight").dimensions = {32, 2};
     },
     {"tensor 'output_norm.weight'", "[32, 2]", "[64]"}},
    {"VocabularyMismatch",
     [](GgufWriter& w) {
       w.tensor("token_embd.weight").dimensions = {64, 319};
     },
     {"tensor 'token_embd.weight'", "[64, 319]", "[64, 320]"}},
    {"HeadOfOtherShape",
     [](GgufWriter& w) {
       w.AddWeights("output.weight", DType::kF32, 64, 1, std::vector<float>(64));
     },
     {"tensor 'output.weight'", "[64, 1]", "[64, 320]"}},
    {"NoDimensions",
     [](GgufWriter& w) { w.tensor("output_norm.weight").dimensions = {}; },
     {"tensor 'output_norm.weight'", "0 dimensions"}},
    {"FiveDimensions",
     [](GgufWriter& w) {
       w.tensor("output_norm.weight").dimensions = {64, 1, 1, 1, 1};
     },
     {"tensor 'output_norm.weight'", "5 dimensions"}},
    {"EmptyDimension",
     [](GgufWriter& w) {
       w.tensor("output_norm.weight").dimensions = {64, 0};
     },
     {"tensor 'output_norm.weight'", "dimension 1 is 0"}},
    {"OverflowingShape",
     [](GgufWriter& w) {
       w.tensor("output_norm.weight").dimensions = {uint64_t{1} << 40, uint64_t{1} << 40};
     },
     {"tensor 'output_norm.weight'", "too large"}},
    {"NegativeShape",
     [](GgufWriter& w) { w.tensor("output_norm.weight").dimensions = {~uint64_t{0}}; },
     {"tensor 'output_norm.weight'", "too large"}},
    {"UnsupportedType",
     [](GgufWriter& w) { w.tensor("blk.0.attn_q.weight").ggml_type = 12; },
     {"tensor 'blk.0.attn_q.weight'", "GGML type 12"},
     kUnimplemented},
    {"PartOfABlock",
     [](GgufWriter& w) {
       w.tensor("output_norm.weight").dimensions = {63};
       w.tensor("output_norm.weight").ggml_type = 8;
     },
     {"tensor 'output_norm.weight'", "63", "Q8_0", "32"}},
    {"OffsetUnaligned",
     [](GgufWriter& w) { w.tensor("output_norm.weight").offset = 16; },
     {"tensor 'output_norm.weight'", "offset 16", "32"}},
    {"OffsetPastTheEnd",
     [](GgufWriter& w) { w.tensor("output_norm.weight").offset = uint64_t{1} << 40; },
     {"tensor 'output_norm.weight'", "past the end"}},
    {"OffsetWrapsAround",
     [](GgufWriter& w) { w.tensor("output_norm.weight").offset = ~uint64_t{31}; },
     {"tensor 'output_norm.weight'", "past the end"}},
    {"DataCutShort",
     [](GgufWriter& w) { w.tensor("output_norm.weight").data.pop_back(); },
     {"tensor 'output_norm.weight'", "past the end"}},
    {"Overlap",
     [](GgufWriter& w) { w.tensor("output_norm.weight").offset = 32; },
     {"tensor 'output_norm.weight'", "overlaps tensor 'token_embd.weight'"}},
    {"LongName",
     [](GgufWriter& w) { w.tensor("output_norm.weight").name = std::string(65, 'x'); },
     {"name of tensor 19", "65 bytes"}},
    {"Bias",
     [](GgufWriter& w) {
       w.AddWeights("blk.0.attn_q.bias", DType::kF32, 64, 0, std::vector<float>(64));
     },
     {"tensor 'blk.0.attn_q.bias'"},
     kUnimplemented},
    {"RopeFactors",
     [](GgufWriter& w) {
       w.AddWeights("rope_freqs.weight", DType::kF32, 8, 0, std::vector<float>(8));
     },
     {"tensor 'rope_freqs.weight'"},
     kUnimplemented},
    {"NameWithControlCharacters",
     [](GgufWriter& w) {
       w.tensor("output_norm.weight").name = "\x1b[2J";
       w.tensor("\x1b[2J").dimensions = {};
     },
     {"tensor '\\x1b[2J'"}},
};

const auto kCaseName = [](const testing::TestParamInfo<Damage>& info) { return info.param.name; };
INSTANTIATE_TEST_SUITE_P(Keys, ModelFileDamageTest, testing::ValuesIn(kKeyDamages), kCaseName);
INSTANTIATE_TEST_SUITE_P(Tokenizer, ModelFileDamageTest, testing::ValuesIn(kTokenizerDamages),
                         kCaseName);
INSTANTIATE_TEST_SUITE_P(Tensors, ModelFileDamageTest, testing::ValuesIn(kTensorDamages),
                         kCaseName);

template <class T>
absl::Status ParseWithHeaderField(size_t offset, T value) {
  std::vector<std::byte> bytes = TinyModelBytes({});
  std::memcpy(bytes.data() + offset, &value, sizeof(T));
  return ModelFile::Parse(bytes).status();
}

TEST(ModelFileHeaderTest, OtherVersionsAreRefused) {
  EXPECT_THAT(ParseWithHeaderField<uint32_t>(4, 2).message(), HasSubstr("GGUF version 2"));
  EXPECT_THAT(ParseWithHeaderField<uint32_t>(4, 4).message(), HasSubstr("GGUF version 4"));
  EXPECT_THAT(ParseWithHeaderField<uint32_t>(4, 0x03000000).message(), HasSubstr("big-endian"));
}

TEST(ModelFileHeaderTest, CountsBeyondTheLimitsAreRefused) {
  EXPECT_THAT(ParseWithHeaderField<uint64_t>(8, 65537).message(), HasSubstr("65537 tensors"));
  EXPECT_THAT(ParseWithHeaderField<uint64_t>(16, 65537).message(), HasSubstr("65537 keys"));
  EXPECT_FALSE(ParseWithHeaderField<uint64_t>(8, 65536).ok());
  EXPECT_FALSE(ParseWithHeaderField<uint64_t>(16, 65536).ok());
}

TEST(ModelFileHeaderTest, LongStringsAndArraysAreRefused) {
  GgufWriter writer = TinyModelWriter({});
  const uint64_t too_many = (uint64_t{1} << 24) + 1;
  std::string length(8, '\0');
  std::memcpy(length.data(), &too_many, 8);
  writer.SetRaw("x", 8, length);
  EXPECT_THAT(ModelFile::Parse(writer.Build()).status().message(),
              HasSubstr("key 'x': string of 16777217 bytes"));
  writer.SetRaw("x", 9, std::string("\0\0\0\0", 4) + length);
  EXPECT_THAT(ModelFile::Parse(writer.Build()).status().message(),
              HasSubstr("key 'x': array of 16777217 elements"));
}

TEST(ModelFileHeaderTest, DeeplyNestedArraysAreRefused) {
  GgufWriter writer = TinyModelWriter({});
  std::string payload;
  for (int depth = 0; depth < 1000; ++depth) {
    payload += std::string("\x09\0\0\0\x01\0\0\0\0\0\0\0", 12);
  }
  writer.SetRaw("x", 9, payload);
  EXPECT_THAT(ModelFile::Parse(writer.Build()).status().message(),
              HasSubstr("key 'x': arrays nested deeper than 4"));
}

}  // namespace
}  // namespace tandem
