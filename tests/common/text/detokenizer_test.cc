#include "common/text/detokenizer.h"

#include <gmock/gmock.h>

#include "tests/common/text/small_tokenizer.h"

namespace tandem {
namespace {

using testing::ElementsAre;

class DetokenizerTest : public testing::Test {
 protected:
  DetokenizerTest() : tokenizer_(*Tokenizer::Create(SmallTokenizerData())) {}

  // The id of one byte.
  TokenId Byte(uint8_t byte) const { return 3 + byte - (byte > 1 ? 1 : 0); }

  std::vector<std::string> Stream(const std::vector<uint8_t>& bytes) const {
    StreamingDetokenizer stream(tokenizer_);
    std::vector<std::string> out;
    for (const uint8_t byte : bytes) out.push_back(stream.Append(Byte(byte)));
    out.push_back(stream.Finish());
    return out;
  }

  Tokenizer tokenizer_;
};

TEST_F(DetokenizerTest, CharactersComeWithTheirLastByte) {
  EXPECT_THAT(Stream({0xE2, 0x82, 0xAC, 'x'}), ElementsAre("", "", "€", "x", ""));
  EXPECT_THAT(Stream({0xF0, 0x9F, 0x98, 0x80}), ElementsAre("", "", "", "😀", ""));
}

TEST_F(DetokenizerTest, AnIncompleteEndIsOneReplacementCharacter) {
  EXPECT_THAT(Stream({'a', 0xF0, 0x9F, 0x98}), ElementsAre("a", "", "", "", "\uFFFD"));
}

TEST_F(DetokenizerTest, BytesThatCannotContinueAreReplacedAtOnce) {
  EXPECT_THAT(Stream({0xE2, 0x82, 'x'}), ElementsAre("", "", "\uFFFDx", ""));
  EXPECT_THAT(Stream({0xFF, 0x80}), ElementsAre("\uFFFD", "\uFFFD", ""));
  EXPECT_THAT(Stream({0xED, 0xA0, 0x80}), ElementsAre("", "\uFFFD\uFFFD", "\uFFFD", ""));
}

TEST_F(DetokenizerTest, ControlTokensAreSkippedOrShown) {
  const std::vector<TokenId> ids = {kSmallStart, Byte('a'), kSmallEnd};
  EXPECT_EQ(Decode(tokenizer_, ids), "a");
  EXPECT_EQ(Decode(tokenizer_, ids, /*skip_special_tokens=*/false), "<|start|>a<|end|>");
}

TEST_F(DetokenizerTest, SkippedTokensDoNotTearCharacters) {
  EXPECT_EQ(Decode(tokenizer_, {Byte(0xC3), kSmallEnd, Byte(0xA9)}), "é");
}

TEST_F(DetokenizerTest, FinishMakesItReusable) {
  StreamingDetokenizer stream(tokenizer_);
  stream.Append(Byte(0xC3));
  EXPECT_TRUE(stream.holds_back());
  EXPECT_EQ(stream.Finish(), "\uFFFD");
  EXPECT_FALSE(stream.holds_back());
  EXPECT_EQ(stream.Append(Byte('a')), "a");
}

TEST_F(DetokenizerTest, IdsOutsideTheVocabularyAddNothing) {
  EXPECT_EQ(Decode(tokenizer_, {-1, Byte('a'), 1 << 30}), "a");
}

TEST_F(DetokenizerTest, ATokenAloneShowsReplacementCharacters) {
  EXPECT_EQ(TokenText(tokenizer_, Byte(0xC3)), "\uFFFD");
  EXPECT_EQ(tokenizer_.TokenBytes(Byte(0xC3)), "\xC3");
}

}  // namespace
}  // namespace tandem
