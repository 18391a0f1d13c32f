// The bodies of POST /v1/completions and /v1/chat/completions, parsed and checked.
//
// Types are strict, an explicit null counts as absent, unknown fields are ignored. A known field
// that Tandem cannot honour and that would change the answer is an error naming it, never ignored.
// Pure functions; thread-safe. No exception leaves them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/protocol/router_messages.h"
#include "common/text/chat_template.h"
#include "nlohmann/json.hpp"
#include "router/openai/api_error.h"

namespace tandem {

enum class ApiKind : uint8_t { kCompletion, kChat };

// Text, or token ids as given.
using PromptInput = std::variant<std::string, std::vector<TokenId>>;

struct CompletionRequest {
  ApiKind kind = ApiKind::kCompletion;
  std::optional<std::string> model;

  std::vector<PromptInput> prompts;  // completions: one choice for each
  bool add_special_tokens = true;    // completions: BOS, where the model wants it

  ChatTemplateInput chat;  // chat: messages are objects whose contents are strings; no time yet

  std::optional<uint32_t> max_tokens;
  std::optional<uint64_t> seed;
  SamplingParams sampling;  // max_tokens and seed are filled in later
  std::vector<std::string> stop;
  bool include_stop = false;
  bool skip_special_tokens = true;
  std::string cache_salt;
  Lane lane = Lane::kInteractive;  // of `priority` or `service_tier`

  bool stream = false;
  bool include_usage = false;
  bool continuous_usage = false;
  bool return_token_ids = false;
  bool timings = false;  // extension `tandem_timings`

  bool wants_logprobs() const { return sampling.top_logprobs >= 0; }
};

inline constexpr size_t kMaxJsonDepth = 64;
inline constexpr size_t kMaxJsonMembers = 512;  // of one object
inline constexpr size_t kMaxStopStrings = 16;
inline constexpr size_t kMaxStopBytes = 256;
inline constexpr size_t kMaxStopTokens = 128;
inline constexpr size_t kMaxPrompts = 64;
inline constexpr size_t kMaxMessages = 1024;  // a template visits each
inline constexpr int kMaxLogprobs = 20;

// `vocab_size` bounds token ids.
Parsed<CompletionRequest> ParseCompletionRequest(ApiKind kind, absl::string_view body,
                                                 size_t vocab_size);

// POST /tokenize: `prompt` (or `content`) or `messages`. POST /detokenize: `tokens`.
struct TokenizeRequest {
  std::string prompt;
  nlohmann::ordered_json messages;  // null: use `prompt`
  bool add_special_tokens = true;
  bool add_generation_prompt = true;
};
Parsed<TokenizeRequest> ParseTokenizeRequest(absl::string_view body);
Parsed<std::vector<TokenId>> ParseDetokenizeRequest(absl::string_view body, size_t vocab_size);

}  // namespace tandem
