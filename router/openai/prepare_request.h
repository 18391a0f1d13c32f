// From a parsed request to token ids: the chat template, the tokenizer, and the limits that depend
// on the prompt's length. Pure functions; thread-safe. They take time with the prompt's size, so
// they run on the text thread.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/time/time.h"
#include "common/text/chat_template.h"
#include "common/text/tokenizer.h"
#include "router/openai/openai_request.h"

namespace tandem {

// What text becomes tokens with. Immutable once built.
struct TextModel {
  Tokenizer tokenizer;
  std::optional<ChatTemplate> chat_template;  // none: the model cannot chat
};

struct PreparedRequest {
  std::vector<std::vector<TokenId>> prompts;  // one per choice; none empty
  std::vector<SamplingParams> sampling;       // one per choice; the seed is still the client's
};

// Sets max_tokens from what was asked, the API's default and what fits into `max_model_len`.
Parsed<PreparedRequest> PrepareRequest(const CompletionRequest& request, const TextModel& model,
                                       uint32_t max_model_len);

// `now` is what a template may tell.
Parsed<std::vector<TokenId>> Tokenize(TokenizeRequest request, const TextModel& model,
                                      absl::Time now);

}  // namespace tandem
