#include "router/openai/openai_response.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/text/detokenizer.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string Event(const Json& json) { return absl::StrCat("data: ", Dump(json), "\n\n"); }

Json UsageJson(const Usage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
          {"completion_tokens", usage.completion_tokens},
          {"prompt_tokens_details", {{"cached_tokens", usage.cached_tokens}}}};
}

// Milliseconds with microseconds behind the point.
double Ms(Duration d) { return std::round(ToMilliseconds(d) * 1e3) / 1e3; }

Json TimingsJson(const RequestTimings& t) {
  const char* filled = t.pushed_tokens > 0 ? "pushed" : "local";
  return {{"queue_ms", Ms(t.queued)},
          {"route_ms", Ms(t.route)},
          {"prefill_queue_ms", Ms(t.prefill_queued)},
          {"prefill_ms", Ms(t.prefill)},
          {"push_ms", Ms(t.push)},
          {"landed_ms", Ms(t.landed)},
          {"first_token_ms", Ms(t.first_token)},
          {"total_ms", Ms(t.total)},
          {"tokens_per_second", std::round(t.tokens_per_second * 100) / 100},
          {"cached_tokens", t.cached_tokens},
          {"pushed_tokens", t.pushed_tokens},
          {"computed_tokens", t.computed_tokens},
          {"pushed_bytes", t.pushed_bytes},
          {"decode_workers_tried", t.epochs},
          {"prefill_workers_tried", t.attempts},
          {"kv", filled}};
}

Json StopReason(const FinishedChoice& finished) {
  if (finished.stop_string.has_value()) return *finished.stop_string;
  if (finished.stop_token.has_value()) return *finished.stop_token;
  return nullptr;
}

// JSON has no infinities: a probability of zero is written as the lowest that clients expect.
double Finite(float logprob) { return std::isfinite(logprob) ? logprob : -9999.0; }

Json BytesOf(absl::string_view bytes) {
  Json list = Json::array();
  for (const char c : bytes) list.push_back(static_cast<uint8_t>(c));
  return list;
}

Json ModelCard(const std::string& model, int64_t created, uint32_t max_model_len) {
  Json card = {{"id", model},
               {"object", "model"},
               {"created", created},
               {"owned_by", "tandem"},
               {"root", model},
               {"parent", nullptr},
               {"max_model_len", max_model_len}};
  card["permission"] = Json::array();
  return card;
}

}  // namespace

std::string ErrorEvent(const ApiError& error) {
  return absl::StrCat("data: ", ErrorBody(error), "\n\n");
}

ApiError ToApiError(const StreamError& error) {
  int status = 500;
  switch (error.kind) {
    case StreamErrorKind::kOverloaded:
      status = 429;
      break;
    case StreamErrorKind::kNoWorker:
      status = 503;
      break;
    case StreamErrorKind::kDeadline:
      status = 504;
      break;
    case StreamErrorKind::kInvalid:
      status = 400;
      break;
    case StreamErrorKind::kCancelled:
      status = 499;
      break;
    case StreamErrorKind::kInternal:
      break;
  }
  return ApiError{status, error.message, "", error.retry_after};
}

Json AnswerWriter::Envelope(bool chunk) const {
  const bool chat = identity_.kind == ApiKind::kChat;
  const char* object = !chat   ? "text_completion"
                       : chunk ? "chat.completion.chunk"
                               : "chat.completion";
  return {{"id", identity_.id},
          {"object", object},
          {"created", identity_.created},
          {"model", identity_.model},
          {"choices", Json::array()}};
}

std::string AnswerWriter::RoleChunk(uint32_t index, const Usage* usage) const {
  Json json = Envelope(true);
  json["choices"].push_back({{"index", index},
                             {"delta", {{"role", "assistant"}, {"content", ""}}},
                             {"logprobs", nullptr},
                             {"finish_reason", nullptr}});
  if (usage != nullptr) json["usage"] = UsageJson(*usage);
  return Event(json);
}

std::string AnswerWriter::ContentChunk(const ChoiceContent& content, const Usage* usage) const {
  Json json = Envelope(true);
  Json choice = {{"index", content.index}};
  if (identity_.kind == ApiKind::kChat) {
    choice["delta"] = Json::object();
    if (content.piece != nullptr) choice["delta"]["content"] = content.piece->text;
  } else {
    choice["text"] = content.piece != nullptr ? content.piece->text : "";
  }
  choice["logprobs"] =
      content.piece != nullptr && content.with_logprobs ? Logprobs(content) : Json();
  choice["finish_reason"] =
      content.finished != nullptr ? Json(content.finished->finish_reason) : Json();
  choice["stop_reason"] = content.finished != nullptr ? StopReason(*content.finished) : Json();
  if (content.piece != nullptr && content.with_token_ids) {
    choice["token_ids"] = content.piece->tokens;
  }
  json["choices"].push_back(std::move(choice));
  if (usage != nullptr) json["usage"] = UsageJson(*usage);
  return Event(json);
}

std::string AnswerWriter::UsageChunk(const Usage& usage, const RequestTimings* timings) const {
  Json json = Envelope(true);
  json["usage"] = UsageJson(usage);
  if (timings != nullptr) json["timings"] = TimingsJson(*timings);
  return Event(json);
}

std::string AnswerWriter::Body(const std::vector<ChoiceContent>& choices, const Usage& usage,
                               const RequestTimings* timings) const {
  Json json = Envelope(false);
  for (const ChoiceContent& content : choices) {
    Json choice = {{"index", content.index}};
    if (identity_.kind == ApiKind::kChat) {
      choice["message"] = {{"role", "assistant"}, {"content", content.piece->text}};
    } else {
      choice["text"] = content.piece->text;
    }
    choice["logprobs"] = content.with_logprobs ? Logprobs(content) : Json();
    choice["finish_reason"] = content.finished->finish_reason;
    choice["stop_reason"] = StopReason(*content.finished);
    if (content.with_token_ids) choice["token_ids"] = content.piece->tokens;
    json["choices"].push_back(std::move(choice));
  }
  json["usage"] = UsageJson(usage);
  json["system_fingerprint"] = nullptr;
  if (timings != nullptr) json["timings"] = TimingsJson(*timings);
  return Dump(json);
}

Json AnswerWriter::Logprobs(const ChoiceContent& content) const {
  if (identity_.kind == ApiKind::kChat) {
    const auto entry = [this](const TokenLogprob& t) {
      return Json{{"token", TokenText(tokenizer_, t.token)},
                  {"logprob", Finite(t.logprob)},
                  {"bytes", BytesOf(tokenizer_.TokenBytes(t.token))}};
    };
    Json list = Json::array();
    for (const OutputLogprobs& output : content.piece->logprobs) {
      Json item = entry(output.chosen);
      item["top_logprobs"] = Json::array();
      for (const TokenLogprob& t : output.top) item["top_logprobs"].push_back(entry(t));
      list.push_back(std::move(item));
    }
    return {{"content", std::move(list)}};
  }
  Json offsets = Json::array(), token_logprobs = Json::array(), tokens = Json::array(),
       top_logprobs = Json::array();
  uint32_t offset = content.text_offset;
  for (const OutputLogprobs& output : content.piece->logprobs) {
    const std::string text = TokenText(tokenizer_, output.chosen.token);
    offsets.push_back(offset);
    offset += CountCharacters(text);
    token_logprobs.push_back(Finite(output.chosen.logprob));
    tokens.push_back(text);
    Json top = Json::object();
    for (const TokenLogprob& t : output.top) {
      top[TokenText(tokenizer_, t.token)] = Finite(t.logprob);
    }
    // The chosen token is always among them, as in the API's own answers.
    if (!top.contains(text)) top[text] = Finite(output.chosen.logprob);
    top_logprobs.push_back(std::move(top));
  }
  return {{"text_offset", std::move(offsets)},
          {"token_logprobs", std::move(token_logprobs)},
          {"tokens", std::move(tokens)},
          {"top_logprobs", std::move(top_logprobs)}};
}

std::string ModelsBody(const std::string& model, int64_t created, uint32_t max_model_len) {
  Json data = Json::array();
  data.push_back(ModelCard(model, created, max_model_len));
  return Dump({{"object", "list"}, {"data", std::move(data)}});
}

std::string ModelBody(const std::string& model, int64_t created, uint32_t max_model_len) {
  return Dump(ModelCard(model, created, max_model_len));
}

std::string TokenizeBody(const std::vector<TokenId>& tokens, uint32_t max_model_len) {
  return Dump({{"count", tokens.size()}, {"max_model_len", max_model_len}, {"tokens", tokens}});
}

std::string DetokenizeBody(const std::string& text) { return Dump({{"prompt", text}}); }

std::string VersionBody(const std::string& version) { return Dump({{"version", version}}); }

}  // namespace tandem
