#include "router/openai/prepare_request.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace tandem {
namespace {

// Completions without max_tokens: the API's own default.
constexpr uint32_t kDefaultCompletionTokens = 16;

Parsed<std::vector<TokenId>> RenderChat(const TextModel& model, const ChatTemplateInput& input) {
  if (!model.chat_template.has_value()) {
    return BadRequest("the model has no chat template; use /v1/completions", "messages");
  }
  absl::StatusOr<std::vector<Segment>> segments = model.chat_template->Render(input);
  if (!segments.ok()) {
    return BadRequest(
        absl::StrCat("the chat template refused the messages: ", segments.status().message()),
        "messages");
  }
  return model.tokenizer.EncodeWithSpecials(*segments);
}

// A part of the input that a template leaves out would be ignored unseen.
std::optional<ApiError> CheckShown(const TextModel& model, const ChatTemplateInput& input,
                                   nlohmann::ordered_json ChatTemplateInput::*part,
                                   const char* name, const std::vector<TokenId>& rendered) {
  if ((input.*part).is_null()) return std::nullopt;
  ChatTemplateInput without = input;
  without.*part = nullptr;
  Parsed<std::vector<TokenId>> tokens = RenderChat(model, without);
  if (!tokens.ok() || tokens.value() != rendered) return std::nullopt;
  return BadRequest(absl::StrCat("the model's chat template has no place for ", name), name);
}

std::vector<TokenId> EncodeText(const TextModel& model, const std::string& text, bool add_bos) {
  std::vector<TokenId> tokens = model.tokenizer.EncodeTrusted(text);
  if (add_bos && model.tokenizer.add_bos() && model.tokenizer.bos().has_value()) {
    tokens.insert(tokens.begin(), *model.tokenizer.bos());
  }
  return tokens;
}

}  // namespace

Parsed<PreparedRequest> PrepareRequest(const CompletionRequest& request, const TextModel& model,
                                       uint32_t max_model_len) {
  PreparedRequest out;
  if (request.kind == ApiKind::kChat) {
    Parsed<std::vector<TokenId>> tokens = RenderChat(model, request.chat);
    if (!tokens.ok()) return tokens.error();
    for (const auto& [part, name] : {std::pair(&ChatTemplateInput::tools, "tools"),
                                     std::pair(&ChatTemplateInput::documents, "documents")}) {
      if (auto error = CheckShown(model, request.chat, part, name, tokens.value())) return *error;
    }
    out.prompts.push_back(std::move(tokens.value()));
  } else {
    for (const PromptInput& prompt : request.prompts) {
      if (const auto* text = std::get_if<std::string>(&prompt)) {
        out.prompts.push_back(EncodeText(model, *text, request.add_special_tokens));
      } else {
        out.prompts.push_back(std::get<std::vector<TokenId>>(prompt));
      }
    }
  }

  const char* param = request.kind == ApiKind::kChat ? "messages" : "prompt";
  for (const std::vector<TokenId>& prompt : out.prompts) {
    if (prompt.empty()) return BadRequest("the prompt has no tokens", param);
    const auto length = static_cast<uint32_t>(prompt.size());
    if (prompt.size() >= max_model_len) {
      return BadRequest(absl::StrCat("the prompt has ", prompt.size(), " tokens; this model takes ",
                                     max_model_len, " tokens of prompt and output together"),
                        param);
    }
    const uint32_t room = max_model_len - length;
    uint32_t max_tokens =
        request.kind == ApiKind::kChat
            ? room
            : std::min(room, std::max(kDefaultCompletionTokens, request.sampling.min_tokens));
    if (request.max_tokens.has_value()) {
      max_tokens = *request.max_tokens;
      if (max_tokens > room) {
        return BadRequest(absl::StrCat("the prompt has ", length, " tokens and max_tokens is ",
                                       max_tokens, "; this model takes ", max_model_len,
                                       " tokens of prompt and output together"),
                          "max_tokens");
      }
    }
    if (request.sampling.min_tokens > max_tokens) {
      return BadRequest(absl::StrCat("min_tokens is ", request.sampling.min_tokens,
                                     ", more than the ", max_tokens, " tokens that fit"),
                        "min_tokens");
    }
    SamplingParams sampling = request.sampling;
    sampling.max_tokens = max_tokens;
    sampling.seed = request.seed.value_or(0);
    out.sampling.push_back(std::move(sampling));
  }
  return out;
}

Parsed<std::vector<TokenId>> Tokenize(TokenizeRequest request, const TextModel& model,
                                      absl::Time now) {
  if (request.messages.is_null()) {
    return EncodeText(model, request.prompt, request.add_special_tokens);
  }
  ChatTemplateInput input;
  input.messages = std::move(request.messages);
  input.add_generation_prompt = request.add_generation_prompt;
  input.now = now;
  return RenderChat(model, input);
}

}  // namespace tandem
