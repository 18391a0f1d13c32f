// The bodies and events that the OpenAI API answers with. Pure functions from plain structs to
// text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/text/tokenizer.h"
#include "router/core/router_events.h"
#include "router/openai/choice_text.h"
#include "router/openai/openai_request.h"

namespace tandem {

// Equal in every chunk of one answer.
struct AnswerIdentity {
  ApiKind kind = ApiKind::kCompletion;
  std::string id;  // "cmpl-..." or "chatcmpl-..."
  std::string model;
  int64_t created = 0;  // seconds since the epoch
};

struct Usage {
  uint32_t prompt_tokens = 0;
  uint32_t completion_tokens = 0;
  uint32_t cached_tokens = 0;
};

struct FinishedChoice {
  absl::string_view finish_reason;         // "stop", "length"
  std::optional<std::string> stop_string;  // stop_reason
  std::optional<TokenId> stop_token;       // stop_reason, if no string
};

// What one chunk, or the whole of a choice, says.
struct ChoiceContent {
  uint32_t index = 0;
  const TextPiece* piece = nullptr;  // null: no text (a finish chunk)
  const FinishedChoice* finished = nullptr;
  uint32_t text_offset = 0;  // completions' logprobs: characters before this piece
  bool with_logprobs = false;
  bool with_token_ids = false;
};

// Writes by appending: a chunk costs its bytes, not a tree of values. What is equal in every chunk
// of the answer is put together once.
class AnswerWriter {
 public:
  // The tokenizer names the tokens of logprobs; it must outlive this.
  AnswerWriter(AnswerIdentity identity, const Tokenizer& tokenizer);

  // Server-sent events, each complete with its blank line. `usage` may be null.
  void AppendRoleChunk(uint32_t index, const Usage* usage, std::string* out) const;
  void AppendContentChunk(const ChoiceContent& content, const Usage* usage, std::string* out) const;
  void AppendUsageChunk(const Usage& usage, const RequestTimings* timings, std::string* out) const;

  std::string Body(const std::vector<ChoiceContent>& choices, const Usage& usage,
                   const RequestTimings* timings) const;

  const AnswerIdentity& identity() const { return identity_; }

 private:
  std::string Envelope(const char* object) const;
  void AppendChoiceEnd(const ChoiceContent& content, std::string* out) const;
  nlohmann::ordered_json Logprobs(const ChoiceContent& content) const;

  const AnswerIdentity identity_;
  const Tokenizer& tokenizer_;
  const std::string chunk_start_;  // "data: {...,"choices":["
};

std::string ErrorEvent(const ApiError& error);
inline constexpr absl::string_view kDoneEvent = "data: [DONE]\n\n";

std::string ModelsBody(const std::string& model, int64_t created, uint32_t max_model_len);
std::string ModelBody(const std::string& model, int64_t created, uint32_t max_model_len);
std::string TokenizeBody(const std::vector<TokenId>& tokens, uint32_t max_model_len);
std::string DetokenizeBody(const std::string& text);
std::string VersionBody(const std::string& version);

// How the router's core says it, as HTTP says it.
ApiError ToApiError(const StreamError& error);

}  // namespace tandem
