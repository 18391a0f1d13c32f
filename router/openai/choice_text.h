// ChoiceText turns the output tokens of one choice into pieces of text that may be sent: it
// detokenizes, looks for stop strings and holds back what is not clear yet.
// Thread-compatible: one stream, one owner.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/protocol/router_messages.h"
#include "common/text/detokenizer.h"
#include "common/text/stop_matcher.h"
#include "common/text/tokenizer.h"

namespace tandem {

// Text and the tokens it came from. Held-back tokens come with the text they complete.
struct TextPiece {
  std::string text;
  std::vector<TokenId> tokens;
  std::vector<OutputLogprobs> logprobs;  // empty, or one per token

  bool empty() const { return text.empty() && tokens.empty(); }
};

// Code points of `text`, as the API counts text offsets. REQUIRES: UTF-8.
uint32_t CountCharacters(absl::string_view text);

class ChoiceText {
 public:
  ChoiceText(const Tokenizer& tokenizer, std::vector<std::string> stops, bool include_stop,
             bool skip_special_tokens)
      : detokenizer_(tokenizer, skip_special_tokens), matcher_(std::move(stops), include_stop) {}

  // Nothing when the token's text is held back, or after a match.
  std::optional<TextPiece> Append(TokenId token, const OutputLogprobs* logprobs);
  // The stream ended for another reason: whatever was held back, perhaps empty.
  TextPiece Finish();

  // Set once a stop string was found: the output ends there.
  const std::optional<std::string>& matched_stop() const { return matched_stop_; }
  // Tokens so far, up to the one that completed a stop string.
  uint32_t num_tokens() const { return num_tokens_; }

 private:
  StreamingDetokenizer detokenizer_;
  StopMatcher matcher_;
  TextPiece held_;  // tokens whose text is not out yet
  std::optional<std::string> matched_stop_;
  uint32_t num_tokens_ = 0;
};

}  // namespace tandem
