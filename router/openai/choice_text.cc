#include "router/openai/choice_text.h"

#include <algorithm>
#include <utility>

namespace tandem {

uint32_t CountCharacters(absl::string_view text) {
  return static_cast<uint32_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; }));
}

std::optional<TextPiece> ChoiceText::Append(TokenId token, const OutputLogprobs* logprobs) {
  if (matched_stop_.has_value()) return std::nullopt;
  ++num_tokens_;
  held_.tokens.push_back(token);
  if (logprobs != nullptr) held_.logprobs.push_back(*logprobs);
  StopMatcher::Result result = matcher_.Append(detokenizer_.Append(token));
  if (result.match.has_value()) matched_stop_ = matcher_.stop(*result.match);
  held_.text = std::move(result.text);
  if (held_.text.empty() && !matched_stop_.has_value()) return std::nullopt;
  return std::exchange(held_, {});
}

TextPiece ChoiceText::Finish() {
  if (!matched_stop_.has_value()) {
    StopMatcher::Result result = matcher_.Append(detokenizer_.Finish());
    if (result.match.has_value()) {
      matched_stop_ = matcher_.stop(*result.match);
      held_.text = std::move(result.text);
    } else {
      held_.text = result.text + matcher_.Finish();
    }
  }
  return std::exchange(held_, {});
}

}  // namespace tandem
