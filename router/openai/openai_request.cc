#include "router/openai/openai_request.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "router/openai/field_reader.h"

namespace tandem {
namespace {

constexpr int64_t kMaxCount = int64_t{1} << 30;

void RefuseUnsupported(FieldReader& in) {
  for (const char* name :
       {"structured_outputs", "guided_json", "guided_regex", "guided_choice", "guided_grammar",
        "logit_bias", "use_beam_search", "suffix", "echo", "allowed_token_ids", "bad_words",
        "logprob_token_ids", "kv_transfer_params", "chat_template", "continue_final_message",
        "return_tokens_as_token_ids", "functions", "min_p"}) {
    in.RefuseNonEmpty(name);
  }
  for (const char* name : {"prompt_logprobs", "truncate_prompt_tokens", "audio"}) {
    in.RefuseUnless(in.Get(name) == nullptr, name);
  }
  for (const char* name :
       {"n", "best_of", "repetition_penalty", "length_penalty", "stream_interval"}) {
    in.RefuseNumberOtherThan(name, 1);
  }
  for (const char* name : {"presence_penalty", "frequency_penalty"}) {
    in.RefuseNumberOtherThan(name, 0);
  }
  if (const Json* format = in.Get("response_format")) {
    in.RefuseUnless(format->is_object() && format->value("type", Json()) == Json("text"),
                    "response_format");
  }
}

void ReadStop(FieldReader& in, CompletionRequest& out) {
  const Json* stop = in.Get("stop");
  if (stop == nullptr) return;
  const Json list = stop->is_string() ? Json::array({*stop}) : *stop;
  if (!list.is_array() ||
      !std::all_of(list.begin(), list.end(), [](const Json& s) { return s.is_string(); })) {
    return in.Fail("stop must be a string or a list of strings", "stop");
  }
  if (list.size() > kMaxStopStrings) {
    return in.Fail(absl::StrCat("stop holds more than ", kMaxStopStrings, " strings"), "stop");
  }
  for (const Json& item : list) {
    const auto& text = item.get_ref<const std::string&>();
    if (text.size() > kMaxStopBytes) {
      return in.Fail(absl::StrCat("a stop string is longer than ", kMaxStopBytes, " bytes"),
                     "stop");
    }
    if (!text.empty()) out.stop.push_back(text);
  }
}

void ReadSampling(FieldReader& in, CompletionRequest& out, size_t vocab_size) {
  SamplingParams& s = out.sampling;
  s.temperature = static_cast<float>(in.Number("temperature", 0, 2).value_or(1));
  s.top_p = static_cast<float>(in.Number("top_p", 0, 1).value_or(1));
  if (in.ok() && s.top_p <= 0) in.Fail("top_p must be greater than 0", "top_p");
  // Beyond any vocabulary a larger top_k means the same.
  s.top_k = static_cast<int32_t>(std::clamp<int64_t>(
      in.Int("top_k", -1, std::numeric_limits<int32_t>::max()).value_or(0), 0, 1 << 24));
  if (const auto seed = in.Int("seed", std::numeric_limits<int64_t>::min(),
                               std::numeric_limits<int64_t>::max())) {
    out.seed = static_cast<uint64_t>(*seed);
  }
  s.ignore_eos = in.Bool("ignore_eos", false);
  s.min_tokens = static_cast<uint32_t>(in.Int("min_tokens", 0, kMaxCount).value_or(0));
  if (const Json* ids = in.Get("stop_token_ids")) {
    s.stop_token_ids = in.Tokens("stop_token_ids", *ids, vocab_size);
    if (s.stop_token_ids.size() > kMaxStopTokens) {
      in.Fail(absl::StrCat("stop_token_ids holds more than ", kMaxStopTokens, " ids"),
              "stop_token_ids");
    }
  }

  auto max_tokens = in.Int("max_tokens", 1, kMaxCount);
  if (out.kind == ApiKind::kChat) {
    if (const auto newer = in.Int("max_completion_tokens", 1, kMaxCount)) max_tokens = newer;
  }
  if (max_tokens.has_value()) {
    out.max_tokens = static_cast<uint32_t>(*max_tokens);
    if (s.min_tokens > *out.max_tokens) {
      in.Fail(absl::StrCat("min_tokens is ", s.min_tokens, ", more than the ", *out.max_tokens,
                           " tokens that may be produced"),
              "min_tokens");
    }
  }
}

void ReadLogprobs(FieldReader& in, CompletionRequest& out) {
  if (out.kind == ApiKind::kCompletion) {
    out.sampling.top_logprobs =
        static_cast<int32_t>(in.Int("logprobs", 0, kMaxLogprobs).value_or(-1));
    return;
  }
  const bool wanted = in.Bool("logprobs", false);
  const auto top = in.Int("top_logprobs", 0, kMaxLogprobs);
  if (wanted) out.sampling.top_logprobs = static_cast<int32_t>(top.value_or(0));
  if (!wanted && top.value_or(0) > 0) {
    in.Fail("top_logprobs needs logprobs to be true", "top_logprobs");
  }
}

void ReadStreaming(FieldReader& in, CompletionRequest& out) {
  out.stream = in.Bool("stream", false);
  const Json* options = in.Get("stream_options");
  if (options == nullptr) return;
  if (!options->is_object()) return in.Fail("stream_options must be an object", "stream_options");
  if (!out.stream) return in.Fail("stream_options needs stream to be true", "stream_options");
  FieldReader inner(*options);
  out.include_usage = inner.Bool("include_usage", false);
  out.continuous_usage = inner.Bool("continuous_usage_stats", false);
  if (!inner.ok()) in.Fail(inner.error().message, "stream_options");
}

void ReadPrompts(FieldReader& in, CompletionRequest& out, size_t vocab_size) {
  const Json* prompt = in.Get("prompt");
  if (prompt == nullptr) return in.Fail("prompt is missing", "prompt");
  if (prompt->is_string()) {
    out.prompts.emplace_back(prompt->get<std::string>());
    return;
  }
  if (!prompt->is_array() || prompt->empty()) {
    return in.Fail("prompt must be a string, a list of token ids, or a list of these", "prompt");
  }
  if (prompt->front().is_number()) {
    out.prompts.emplace_back(in.Tokens("prompt", *prompt, vocab_size));
    return;
  }
  if (prompt->size() > kMaxPrompts) {
    return in.Fail(absl::StrCat("prompt holds more than ", kMaxPrompts, " prompts"), "prompt");
  }
  for (const Json& item : *prompt) {
    if (item.is_string()) {
      out.prompts.emplace_back(item.get<std::string>());
    } else {
      out.prompts.emplace_back(in.Tokens("prompt", item, vocab_size));
    }
  }
}

// vLLM's `priority` (an integer; lower is earlier, 0 by default) says how urgent a request is. Left
// at 0, OpenAI's `service_tier` does: flex is later, every other tier is not.
void ReadLane(FieldReader& in, CompletionRequest& out) {
  const auto priority =
      in.Int("priority", std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max());
  const std::string tier = in.String("service_tier").value_or("auto");
  const int64_t order = priority.value_or(0);
  const bool later = order != 0 ? order > 0 : tier == "flex";
  out.lane = later ? Lane::kBulk : Lane::kInteractive;
}

// Content parts become one text: templates take strings.
bool FlattenContent(FieldReader& in, Json& message) {
  auto content = message.find("content");
  if (content == message.end() || content->is_string()) return true;
  if (content->is_null()) {
    *content = "";
    return true;
  }
  if (!content->is_array()) {
    in.Fail("a message's content must be a string, a list of parts, or null", "messages");
    return false;
  }
  std::string text;
  for (size_t i = 0; i < content->size(); ++i) {
    const Json& part = (*content)[i];
    const auto value = part.is_object() ? part.find("text") : part.end();
    if (!part.is_object() || part.value("type", Json()) != Json("text") || value == part.end() ||
        !value->is_string()) {
      in.Fail("only content parts of type text are supported", "messages");
      return false;
    }
    if (i > 0) text += '\n';
    text += value->get_ref<const std::string&>();
  }
  *content = std::move(text);
  return true;
}

// Moves the messages out of `body`, which `in` reads.
Json TakeMessages(FieldReader& in, Json& body) {
  if (in.Get("messages") == nullptr) {
    in.Fail("messages is missing", "messages");
    return {};
  }
  Json* messages = &body["messages"];
  if (!messages->is_array() || messages->empty()) {
    in.Fail("messages must be a list of at least one message", "messages");
    return {};
  }
  if (messages->size() > kMaxMessages) {
    in.Fail(absl::StrCat("messages holds more than ", kMaxMessages, " messages"), "messages");
    return {};
  }
  for (Json& message : *messages) {
    if (!message.is_object() || !message.value("role", Json()).is_string()) {
      in.Fail("each message must be an object with a role", "messages");
      return {};
    }
    if (!FlattenContent(in, message)) return {};
    for (auto it = message.begin(); it != message.end();) {
      it = it.value().is_null() ? message.erase(it) : std::next(it);
    }
  }
  return std::move(*messages);
}

void ReadChat(FieldReader& in, Json& body, CompletionRequest& out) {
  ChatTemplateInput& chat = out.chat;
  chat.messages = TakeMessages(in, body);
  chat.add_generation_prompt = in.Bool("add_generation_prompt", true);
  if (const Json* choice = in.Get("tool_choice")) {
    in.RefuseUnless(*choice == Json("none") || *choice == Json("auto"), "tool_choice");
  }
  const Json* choice = in.Get("tool_choice");
  const std::pair<const char*, Json*> lists[] = {{"tools", &chat.tools},
                                                 {"documents", &chat.documents}};
  for (const auto& [name, target] : lists) {
    const Json* list = in.Get(name);
    if (list == nullptr) continue;
    if (!list->is_array()) return in.Fail(absl::StrCat(name, " must be a list"), name);
    if (!list->empty()) *target = *list;
  }
  if (choice != nullptr && *choice == Json("none")) chat.tools = Json();
  if (const Json* variables = in.Get("chat_template_kwargs")) {
    if (!variables->is_object()) {
      return in.Fail("chat_template_kwargs must be an object", "chat_template_kwargs");
    }
    chat.variables = *variables;
  }
}

}  // namespace

Parsed<CompletionRequest> ParseCompletionRequest(ApiKind kind, absl::string_view body,
                                                 size_t vocab_size) {
  Parsed<Json> json = ParseJsonObject(body, kMaxJsonDepth, kMaxJsonMembers);
  if (!json.ok()) return json.error();
  FieldReader in(json.value());
  CompletionRequest out;
  out.kind = kind;
  out.model = in.String("model");
  if (kind == ApiKind::kChat) {
    ReadChat(in, json.value(), out);
  } else {
    ReadPrompts(in, out, vocab_size);
    out.add_special_tokens = in.Bool("add_special_tokens", true);
  }
  RefuseUnsupported(in);
  ReadSampling(in, out, vocab_size);
  ReadLogprobs(in, out);
  ReadStop(in, out);
  ReadStreaming(in, out);
  ReadLane(in, out);
  out.include_stop = in.Bool("include_stop_str_in_output", false);
  out.skip_special_tokens = in.Bool("skip_special_tokens", true);
  out.return_token_ids = in.Bool("return_token_ids", false);
  out.timings = in.Bool("tandem_timings", false);
  out.cache_salt = in.String("cache_salt").value_or("");
  if (out.cache_salt.size() > 1024) in.Fail("cache_salt is longer than 1024 bytes", "cache_salt");
  if (!in.ok()) return in.error();
  return out;
}

Parsed<TokenizeRequest> ParseTokenizeRequest(absl::string_view body) {
  Parsed<Json> json = ParseJsonObject(body, kMaxJsonDepth, kMaxJsonMembers);
  if (!json.ok()) return json.error();
  FieldReader in(json.value());
  TokenizeRequest out;
  if (in.Get("messages") != nullptr) {
    out.messages = TakeMessages(in, json.value());
  } else if (auto prompt = in.String("prompt")) {
    out.prompt = *std::move(prompt);
  } else if (auto content = in.String("content")) {
    out.prompt = *std::move(content);
  } else {
    in.Fail("prompt or messages is missing", "prompt");
  }
  out.add_special_tokens = in.Bool("add_special_tokens", true);
  out.add_generation_prompt = in.Bool("add_generation_prompt", true);
  if (!in.ok()) return in.error();
  return out;
}

Parsed<std::vector<TokenId>> ParseDetokenizeRequest(absl::string_view body, size_t vocab_size) {
  Parsed<Json> json = ParseJsonObject(body, kMaxJsonDepth, kMaxJsonMembers);
  if (!json.ok()) return json.error();
  FieldReader in(json.value());
  std::vector<TokenId> tokens;
  if (const Json* list = in.Get("tokens")) {
    tokens = in.Tokens("tokens", *list, vocab_size);
  } else {
    in.Fail("tokens is missing", "tokens");
  }
  if (!in.ok()) return in.error();
  return tokens;
}

}  // namespace tandem
