// Segment is a piece of a prompt with its origin. Chat templates produce segments, the tokenizer
// consumes them: control tokens such as <|im_end|> count as such only in trusted text, so a request
// cannot forge a turn.
#pragma once

#include <string>

namespace tandem {

struct Segment {
  std::string text;      // UTF-8
  bool trusted = false;  // written by the template or by the operator, not by a request

  friend bool operator==(const Segment&, const Segment&) = default;
};

}  // namespace tandem
