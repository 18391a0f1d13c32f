#include "common/text/tokenizer.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <chrono>

#include "common/text/detokenizer.h"
#include "tests/common/text/small_tokenizer.h"

namespace tandem {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class TokenizerTest : public testing::Test {
 protected:
  TokenizerTest() : tokenizer_(*Tokenizer::Create(SmallTokenizerData())) {}

  std::vector<std::string> Pieces(const std::vector<TokenId>& ids) const {
    std::vector<std::string> pieces;
    for (const TokenId id : ids) pieces.emplace_back(tokenizer_.TokenBytes(id));
    return pieces;
  }

  Tokenizer tokenizer_;
};

TEST_F(TokenizerTest, MergesBestRankFirst) {
  EXPECT_THAT(Pieces(tokenizer_.Encode("hello hello hell")),
              ElementsAre("hello", " hello", " ", "hell"));
}

TEST_F(TokenizerTest, BytesWithoutASymbolAreDroppedAndTheirNeighboursMerge) {
  EXPECT_THAT(Pieces(tokenizer_.Encode("he\x01llo")), ElementsAre("he", "ll", "o"))
      << "U+0001 is a word of its own";
  TokenizerData data = SmallTokenizerData();
  data.tokens[std::find(data.tokens.begin(), data.tokens.end(), "x") - data.tokens.begin()] =
      "gone";
  const auto lacking = Tokenizer::Create(data);
  ASSERT_TRUE(lacking.ok());
  EXPECT_EQ(lacking->Encode("hxello"), lacking->Encode("hello"));
}

TEST_F(TokenizerTest, EveryDigitStandsAlone) {
  EXPECT_THAT(Pieces(tokenizer_.Encode("1 23")), ElementsAre("1", " ", "2", "3"));
}

TEST_F(TokenizerTest, IllFormedBytesCountAsReplacementCharacters) {
  EXPECT_EQ(tokenizer_.Encode("a\xFF"
                              "b\xE2\x82"),
            tokenizer_.Encode("a\uFFFD"
                              "b\uFFFD"));
}

TEST_F(TokenizerTest, PlainTextNeverGivesAControlToken) {
  for (const char* text : {"<|start|>", "x<|end|>y", "<|<|start|>|>"}) {
    for (const TokenId id : tokenizer_.Encode(text)) EXPECT_FALSE(tokenizer_.IsControl(id)) << text;
    EXPECT_EQ(Decode(tokenizer_, tokenizer_.Encode(text)), text);
  }
}

TEST_F(TokenizerTest, PlainTextGivesUserDefinedTokens) {
  EXPECT_THAT(tokenizer_.Encode("<added>"), ElementsAre(kSmallAdded));
}

TEST_F(TokenizerTest, TrustedTextGivesControlTokens) {
  EXPECT_THAT(Pieces(tokenizer_.EncodeTrusted("<|start|>hello<|end|>")),
              ElementsAre("<|start|>", "hello", "<|end|>"));
}

TEST_F(TokenizerTest, ControlTokensNeedAllTheirBytesTrusted) {
  const auto has_control = [&](const std::vector<Segment>& segments) {
    const auto ids = tokenizer_.EncodeWithSpecials(segments);
    return std::any_of(ids.begin(), ids.end(),
                       [&](TokenId id) { return tokenizer_.IsControl(id); });
  };
  EXPECT_TRUE(has_control({{"<|st", true}, {"art|>", true}}));
  EXPECT_FALSE(has_control({{"<|st", true}, {"art|>", false}}));
  EXPECT_FALSE(has_control({{"<|st", false}, {"art|>", true}}));
  EXPECT_FALSE(has_control({{"<|start|", true}, {">", false}}));
  EXPECT_FALSE(has_control({{"<", false}, {"|start|>", true}}));
  EXPECT_FALSE(has_control({{"<|start|>", false}}));
  EXPECT_TRUE(has_control({{"<|start|>", false}, {"<|start|>", true}}));
}

TEST_F(TokenizerTest, BordersBetweenSegmentsDoNotCutWords) {
  EXPECT_EQ(
      tokenizer_.EncodeWithSpecials({{"he", true}, {"ll", false}, {"o hel", true}, {"lo", false}}),
      tokenizer_.Encode("hello hello"));
}

TEST_F(TokenizerTest, KnowsItsSpecialTokens) {
  EXPECT_EQ(tokenizer_.Find("<|end|>"), kSmallEnd);
  EXPECT_EQ(tokenizer_.Find("<|end"), std::nullopt);
  EXPECT_EQ(tokenizer_.Find("hello"), std::nullopt);
  EXPECT_TRUE(tokenizer_.IsControl(kSmallEnd));
  EXPECT_FALSE(tokenizer_.IsControl(kSmallAdded));
  EXPECT_THAT(tokenizer_.stop_ids(), ElementsAre(kSmallEnd));
  EXPECT_FALSE(tokenizer_.IsControl(-1));
  EXPECT_EQ(tokenizer_.TokenBytes(1 << 30), "");
}

TEST_F(TokenizerTest, EmptyTextHasNoTokens) {
  EXPECT_THAT(tokenizer_.Encode(""), ElementsAre());
  EXPECT_THAT(tokenizer_.EncodeWithSpecials({}), ElementsAre());
}

TEST_F(TokenizerTest, LongWordsAreSplitLikeShortOnes) {
  std::string text;
  for (int i = 0; i < 100'000; ++i) text += "hello";
  const auto ids = tokenizer_.Encode(text);
  ASSERT_EQ(ids.size(), 100'000u);
  EXPECT_TRUE(std::all_of(ids.begin(), ids.end(), [&](TokenId id) { return id == ids[0]; }));
}

TEST(TokenizerCreateTest, UnknownKindsAreUnimplemented) {
  TokenizerData data = SmallTokenizerData();
  data.model = "llama";
  EXPECT_EQ(Tokenizer::Create(data).status().code(), absl::StatusCode::kUnimplemented);
  data = SmallTokenizerData();
  data.pre_tokenizer = "qwen2";
  const absl::Status status = Tokenizer::Create(data).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(status.message()), HasSubstr("qwen2"));
}

TEST(TokenizerCreateTest, ContradictingDataIsInvalid) {
  TokenizerData data = SmallTokenizerData();
  data.merges.push_back("h zz");
  EXPECT_EQ(Tokenizer::Create(data).status().code(), absl::StatusCode::kInvalidArgument);
  data = SmallTokenizerData();
  data.merges.push_back("nospace");
  EXPECT_EQ(Tokenizer::Create(data).status().code(), absl::StatusCode::kInvalidArgument);
  data = SmallTokenizerData();
  data.types.pop_back();
  EXPECT_EQ(Tokenizer::Create(data).status().code(), absl::StatusCode::kInvalidArgument);
  data = SmallTokenizerData();
  data.eos = 100'000;
  EXPECT_EQ(Tokenizer::Create(data).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace tandem
