// CompletionStream is one answer on its way to a client: it takes the tokens of all its choices and
// gives the bytes to send, streamed or whole. It knows text and the API's shapes, but no socket and
// no thread, and decides nothing about the request.
// Thread-compatible: owned by the connection's strand.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/text/tokenizer.h"
#include "router/core/router_events.h"
#include "router/openai/choice_text.h"
#include "router/openai/openai_request.h"
#include "router/openai/openai_response.h"

namespace tandem {

// Which parts of the answer the client asked for, and how its text ends.
struct AnswerOptions {
  bool stream = false;
  bool include_usage = false;
  bool continuous_usage = false;
  bool return_token_ids = false;
  bool timings = false;
  bool logprobs = false;
  bool include_stop = false;
  bool skip_special_tokens = true;
  std::vector<std::string> stop;

  static AnswerOptions From(const CompletionRequest& request);
};

class CompletionStream {
 public:
  // One choice per prompt, with its number of tokens. The tokenizer must outlive this.
  CompletionStream(AnswerIdentity identity, AnswerOptions options,
                   const std::vector<uint32_t>& prompt_tokens, const Tokenizer& tokenizer);

  struct Output {
    std::string bytes;          // to be sent now; for a whole answer, its body at the end
    bool stop_matched = false;  // the choice is complete: nobody needs its further tokens
  };
  // `logprobs` is empty or has one entry per token. Tokens after a stop string are dropped.
  Output OnTokens(size_t choice, const std::vector<TokenId>& tokens,
                  const std::vector<OutputLogprobs>& logprobs);
  // The choice has ended. When it was the last one, or failed, the answer is done().
  Output OnEnd(size_t choice, const EndStream& end);

  bool done() const { return done_; }
  // The request failed; set together with done(). If started(), `bytes` told the client; else the
  // answer is an HTTP error.
  const std::optional<ApiError>& error() const { return error_; }
  // Bytes of a stream have been given out.
  bool started() const { return started_; }
  bool streamed() const { return options_.stream; }

  const AnswerIdentity& identity() const { return writer_.identity(); }
  // Valid when done: sums over the choices; the timings are those of the choice that ended last.
  Usage usage() const;
  const RequestTimings& timings() const { return timings_; }
  // "stop", "length" or "error" of the choice that ended last.
  absl::string_view finish_reason() const { return finish_reason_; }

 private:
  struct Choice {
    ChoiceText text;
    TextPiece whole;  // unary only: all pieces so far
    uint32_t prompt_tokens = 0;
    uint32_t cached_tokens = 0;
    uint32_t characters = 0;  // sent before the current piece
    bool role_sent = false;
    std::optional<FinishedChoice> finished;
  };

  void Deliver(size_t index, TextPiece piece, std::string* bytes);
  void StartChoice(size_t index, std::string* bytes);
  void Complete(std::string* bytes);

  AnswerWriter writer_;
  AnswerOptions options_;
  std::vector<Choice> choices_;
  size_t choices_left_;
  bool started_ = false;
  bool done_ = false;
  std::optional<ApiError> error_;
  RequestTimings timings_;
  absl::string_view finish_reason_ = "error";
};

}  // namespace tandem
