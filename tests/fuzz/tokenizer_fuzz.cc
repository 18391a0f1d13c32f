// Tokenizer: any bytes, cut into trusted and untrusted parts at 0xFF. Encoding must not crash, must
// give ids of the vocabulary, and must never give a control token for untrusted text; decoding any
// ids must give UTF-8, the same in one piece or token by token.

#include <cstdint>
#include <string>

#include "common/base/check.h"
#include "common/text/detokenizer.h"
#include "common/text/tokenizer.h"
#include "common/text/utf8.h"
#include "tests/common/text/small_tokenizer.h"

namespace tandem {
namespace {

void CheckEncoding(const Tokenizer& tokenizer, absl::string_view input) {
  std::vector<Segment> segments(1);
  for (const char c : input) {
    if (c == '\xFF') {
      segments.push_back(Segment{"", !segments.back().trusted});
    } else {
      segments.back().text.push_back(c);
    }
  }
  for (const TokenId id : tokenizer.EncodeWithSpecials(segments)) {
    TANDEM_CHECK(tokenizer.IsValid(id));
  }
  for (const TokenId id : tokenizer.Encode(input)) {
    TANDEM_CHECK(tokenizer.IsValid(id) && !tokenizer.IsControl(id));
  }
  // This vocabulary lacks the byte 0x01 alone: everything else comes back.
  if (input.find('\x01') == absl::string_view::npos) {
    TANDEM_CHECK(Decode(tokenizer, tokenizer.Encode(input)) == ReplaceIllFormed(input));
  }
}

void CheckDecoding(const Tokenizer& tokenizer, absl::string_view input) {
  StreamingDetokenizer stream(tokenizer);
  std::vector<TokenId> ids;
  std::string text;
  for (const char c : input) {
    ids.push_back(static_cast<uint8_t>(c) + 5);
    const std::string piece = stream.Append(ids.back());
    TANDEM_CHECK(IsWellFormedUtf8(piece));
    text += piece;
  }
  text += stream.Finish();
  TANDEM_CHECK(text == Decode(tokenizer, ids));
}

}  // namespace
}  // namespace tandem

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto& tokenizer =
      *new tandem::Tokenizer(*tandem::Tokenizer::Create(tandem::SmallTokenizerData()));
  const absl::string_view input(reinterpret_cast<const char*>(data), size);
  tandem::CheckEncoding(tokenizer, input);
  tandem::CheckDecoding(tokenizer, input);
  return 0;
}
