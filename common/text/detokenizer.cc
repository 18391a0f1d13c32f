#include "common/text/detokenizer.h"

#include "absl/strings/str_cat.h"
#include "common/text/utf8.h"

namespace tandem {

std::string StreamingDetokenizer::Append(TokenId token) {
  if (skip_special_tokens_ && tokenizer_->IsControl(token)) return "";
  absl::StrAppend(&pending_, tokenizer_->TokenBytes(token));
  std::string text;
  size_t pos = 0;
  while (pos < pending_.size()) {
    const Utf8Step step = ReadUtf8(pending_, pos);
    if (step.kind == Utf8Step::kCutOff) break;
    AppendUtf8(step.value, text);
    pos += step.num_bytes;
  }
  pending_.erase(0, pos);
  return text;
}

std::string StreamingDetokenizer::Append(absl::Span<const TokenId> tokens) {
  std::string text;
  for (const TokenId token : tokens) text += Append(token);
  return text;
}

std::string StreamingDetokenizer::Finish() {
  std::string text;
  if (!pending_.empty()) AppendUtf8(kReplacementCharacter, text);
  pending_.clear();
  return text;
}

std::string Decode(const Tokenizer& tokenizer, absl::Span<const TokenId> tokens,
                   bool skip_special_tokens) {
  StreamingDetokenizer detokenizer(tokenizer, skip_special_tokens);
  std::string text = detokenizer.Append(tokens);
  text += detokenizer.Finish();
  return text;
}

std::string TokenText(const Tokenizer& tokenizer, TokenId token) {
  return ReplaceIllFormed(tokenizer.TokenBytes(token));
}

}  // namespace tandem
