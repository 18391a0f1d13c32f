// The tokenizer of the default model against the reference's answers kept in tokenizer_oracle.json
// (see make_text_oracle.py): every code point, 10,000 strings of many scripts, 10,000 byte strings.
// Needs the model file: TANDEM_TEST_MODEL. Usage: tokenizer_oracle_test PATH/tokenizer_oracle.json

#include <gmock/gmock.h>

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "common/text/tokenizer.h"
#include "common/text/utf8.h"
#include "common/weights/model_file.h"
#include "nlohmann/json.hpp"

namespace tandem {
namespace {

std::string oracle_path;

class Random {  // SplitMix64
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t Next() {
    state_ += 0x9E3779B97F4A7C15;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
  }
  uint64_t Below(uint64_t n) { return Next() % n; }

 private:
  uint64_t state_;
};

class Digest {  // FNV-1a
 public:
  void Add(const std::vector<TokenId>& ids) {
    for (const TokenId id : ids) AddWord(static_cast<uint32_t>(id));
    AddWord(0xFFFFFFFF);
  }
  std::string Hex() const { return absl::StrFormat("%016x", value_); }

 private:
  void AddWord(uint32_t word) {
    for (int shift = 0; shift < 32; shift += 8) {
      value_ = (value_ ^ ((word >> shift) & 0xFF)) * 0x100000001B3;
    }
  }
  uint64_t value_ = 0xCBF29CE484222325;
};

class TokenizerOracleTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    const char* path = std::getenv("TANDEM_TEST_MODEL");
    if (path == nullptr) return;
    const auto model = ModelFile::Open(path);
    ASSERT_TRUE(model.ok()) << model.status();
    auto tokenizer = Tokenizer::Create((*model)->tokenizer());
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    tokenizer_ = new Tokenizer(*std::move(tokenizer));
    std::ifstream file(oracle_path);
    oracle_ = new nlohmann::json(nlohmann::json::parse(file));
  }

  void SetUp() override {
    if (tokenizer_ == nullptr) GTEST_SKIP() << "TANDEM_TEST_MODEL names no model file";
    ASSERT_EQ(tokenizer_->vocab_size(), oracle()["vocabulary"].get<size_t>())
        << "the oracle was made from another model";
  }

  const nlohmann::json& oracle() const { return *oracle_; }

  // Every `group` items one digest.
  template <class Encode, class Item>
  void ExpectDigests(const nlohmann::json& expected, const std::vector<Item>& items, size_t group,
                     Encode encode) {
    ASSERT_EQ(expected.size(), (items.size() + group - 1) / group);
    size_t wrong = 0;
    for (size_t begin = 0, i = 0; begin < items.size(); begin += group, ++i) {
      Digest digest;
      for (size_t j = begin; j < std::min(begin + group, items.size()); ++j) {
        digest.Add(encode(items[j]));
      }
      if (digest.Hex() == expected[i].get<std::string>()) continue;
      if (++wrong <= 3) ADD_FAILURE() << "items " << begin << " and on differ from the reference";
    }
    EXPECT_EQ(wrong, 0u);
  }

  std::string Pick(const char* table, Random& random) const {
    const auto& entries = oracle()["tables"][table];
    return entries[random.Below(entries.size())].get<std::string>();
  }

  std::string Sample(Random& random) const {
    std::string out;
    const auto& ranges = oracle()["tables"]["ranges"];
    for (uint64_t parts = 1 + random.Below(24); parts > 0; --parts) {
      std::string part;
      if (random.Below(10) < 4) {
        part = Pick("words", random);
      } else {
        const auto& range = ranges[random.Below(ranges.size())];
        const uint32_t low = range[0], high = range[1];
        for (uint64_t count = 1 + random.Below(9); count > 0; --count) {
          AppendUtf8(static_cast<char32_t>(low + random.Below(high - low + 1)), part);
        }
      }
      uint64_t repeats = random.Below(10) == 0 ? 2 + random.Below(11) : 1;
      for (; repeats > 0; --repeats) out += part;
      out += Pick("glue", random);
    }
    return out;
  }

  std::string SampleBytes(Random& random) const {
    std::string out;
    if (random.Below(2) != 0) {
      for (uint64_t count = random.Below(80); count > 0; --count) {
        out.push_back(static_cast<char>(random.Next() & 255));
      }
      return out;
    }
    out = Sample(random);
    for (uint64_t count = 1 + random.Below(6); count > 0; --count) {
      const char byte = static_cast<char>(random.Next() & 255);
      out[random.Below(out.size())] = byte;
    }
    out.resize(1 + random.Below(out.size()));
    return out;
  }

  std::vector<std::string> Samples() const {
    Random random(1);
    std::vector<std::string> samples;
    for (size_t i = 0; i < oracle()["strings"].get<size_t>(); ++i)
      samples.push_back(Sample(random));
    return samples;
  }

  static Tokenizer* tokenizer_;
  static nlohmann::json* oracle_;
};

Tokenizer* TokenizerOracleTest::tokenizer_ = nullptr;
nlohmann::json* TokenizerOracleTest::oracle_ = nullptr;

TEST_F(TokenizerOracleTest, ExamplesAgree) {
  for (const auto& example : oracle()["examples"]) {
    const auto text = example[0].get<std::string>();
    EXPECT_EQ(tokenizer_->Encode(text), example[1].get<std::vector<TokenId>>()) << text;
  }
}

TEST_F(TokenizerOracleTest, EveryCodePointAgreesInEveryFrame) {
  std::vector<char32_t> points;
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c < 0xD800 || c > 0xDFFF) points.push_back(c);
  }
  for (size_t i = 0; i < oracle()["frames"].size(); ++i) {
    const auto frame = oracle()["frames"][i].get<std::string>();
    SCOPED_TRACE(frame);
    ExpectDigests(oracle()["code_points"][i], points, oracle()["block"].get<size_t>(),
                  [&](char32_t c) {
                    std::string character;
                    AppendUtf8(c, character);
                    return tokenizer_->Encode(absl::StrReplaceAll(frame, {{"{}", character}}));
                  });
  }
}

TEST_F(TokenizerOracleTest, StringsOfManyScriptsAgree) {
  ExpectDigests(oracle()["texts"], Samples(), oracle()["group"].get<size_t>(),
                [&](const std::string& text) { return tokenizer_->Encode(text); });
}

TEST_F(TokenizerOracleTest, RandomBytesAgree) {
  Random random(2);
  std::vector<std::string> samples;
  for (size_t i = 0; i < oracle()["strings"].get<size_t>(); ++i) {
    samples.push_back(SampleBytes(random));
  }
  ExpectDigests(oracle()["bytes"], samples, oracle()["group"].get<size_t>(),
                [&](const std::string& bytes) { return tokenizer_->Encode(bytes); });
}

TEST_F(TokenizerOracleTest, TrustedTextWithSpecialTokensAgrees) {
  const std::vector<std::string> samples = Samples();
  Random random(3);
  std::vector<std::string> mixed;
  for (size_t i = 0; i + 1 < samples.size(); ++i) {
    mixed.push_back(samples[i] + Pick("specials", random) + samples[i + 1]);
  }
  ExpectDigests(oracle()["specials"], mixed, oracle()["group"].get<size_t>(),
                [&](const std::string& text) { return tokenizer_->EncodeTrusted(text); });
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (argc == 2) tandem::oracle_path = argv[1];
  return RUN_ALL_TESTS();
}
