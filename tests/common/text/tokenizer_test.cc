#include "common/text/tokenizer.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <random>

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

// What byte-pair merging means, one merge at a time: the pair of the best rank, the leftmost of
// equals.
std::vector<std::string> MergedOneByOne(absl::string_view word,
                                        const std::vector<std::string>& merges) {
  std::map<std::pair<std::string, std::string>, size_t> ranks;
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const size_t space = merges[rank].find(' ');
    ranks[{merges[rank].substr(0, space), merges[rank].substr(space + 1)}] = rank;
  }
  std::vector<std::string> parts;
  for (const char c : word) parts.emplace_back(1, c);
  const auto rank_at = [&](size_t i) {
    const auto found = ranks.find({parts[i], parts[i + 1]});
    return found == ranks.end() ? merges.size() : found->second;
  };
  while (true) {
    size_t best = merges.size(), place = 0;
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
      if (rank_at(i) < best) best = rank_at(place = i);
    }
    if (best == merges.size()) return parts;
    parts[place] += parts[place + 1];
    parts.erase(parts.begin() + static_cast<ptrdiff_t>(place) + 1);
  }
}

// Merges in any order, also ones whose parts have worse ranks, as no trained vocabulary has them.
// The longest words are of many pieces that do not merge across the letter x.
TEST(TokenizerMergesTest, WordsOfAnyLengthAreSplitAsTheDefinitionSays) {
  std::mt19937 random(3);
  for (int round = 0; round < 300; ++round) {
    TokenizerData data = SmallTokenizerData();
    std::vector<std::string> parts = {"a", "b", "c"};
    data.merges.clear();
    for (int i = 0; i < 30; ++i) {
      const std::string left = parts[random() % parts.size()];
      const std::string right = parts[random() % parts.size()];
      const std::string merge = left + " " + right;
      if (std::count(data.merges.begin(), data.merges.end(), merge) > 0) continue;
      data.merges.push_back(merge);
      parts.push_back(left + right);
      if (std::count(data.tokens.begin(), data.tokens.end(), parts.back()) == 0) {
        data.tokens.push_back(parts.back());
      }
    }
    data.types.resize(data.tokens.size(), TokenType::kNormal);
    std::shuffle(data.merges.begin(), data.merges.end(), random);
    const auto tokenizer = Tokenizer::Create(data);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    std::string word;
    std::vector<std::string> expected;
    const int pieces = round % 3 == 0 ? 1 : round % 3 == 1 ? 10 : 500;
    for (int piece = 0; piece < pieces; ++piece) {
      std::string letters;
      for (int i = 0; i < 30; ++i) letters.push_back(static_cast<char>('a' + random() % 3));
      word += letters + "x";
      for (std::string& part : MergedOneByOne(letters + "x", data.merges)) {
        expected.push_back(std::move(part));
      }
    }
    std::vector<std::string> actual;
    for (const TokenId id : tokenizer->Encode(word)) actual.emplace_back(tokenizer->TokenBytes(id));
    ASSERT_EQ(actual, expected) << "round " << round;
  }
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
