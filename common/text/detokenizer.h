// StreamingDetokenizer turns one choice's output tokens into text as they arrive. A character whose
// bytes are spread over several tokens comes out with the last of them; bytes that can never become
// UTF-8 come out as U+FFFD. The concatenation of all results, Finish() included, equals the
// reference's decode() of all tokens. Thread-compatible: one stream, one owner. Keeps a reference
// to the tokenizer, which must outlive it.
#pragma once

#include <string>

#include "absl/types/span.h"
#include "common/text/tokenizer.h"

namespace tandem {

class StreamingDetokenizer {
 public:
  explicit StreamingDetokenizer(const Tokenizer& tokenizer, bool skip_special_tokens = true)
      : tokenizer_(&tokenizer), skip_special_tokens_(skip_special_tokens) {}

  // Returns the text that became complete. An id outside the vocabulary adds nothing.
  std::string Append(TokenId token);
  std::string Append(absl::Span<const TokenId> tokens);
  // Ends the stream: an incomplete last character becomes one U+FFFD. The detokenizer is then empty
  // and may be reused.
  std::string Finish();

  // Whether bytes of an unfinished character are held back.
  bool holds_back() const { return !pending_.empty(); }

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_tokens_;
  std::string pending_;  // an incomplete but so far well-formed character: at most 3 bytes
};

// The text of a whole sequence.
std::string Decode(const Tokenizer& tokenizer, absl::Span<const TokenId> tokens,
                   bool skip_special_tokens = true);

// One token on its own, as logprobs show it: ill-formed bytes as U+FFFD (the exact bytes are
// Tokenizer::TokenBytes).
std::string TokenText(const Tokenizer& tokenizer, TokenId token);

}  // namespace tandem
