#include "router/openai/openai_response.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/text/detokenizer.h"
#include "router/openai/json_text.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void AppendUsage(const Usage& usage, std::string* out) {
  absl::StrAppend(out, "\"usage\":{\"prompt_tokens\":", usage.prompt_tokens,
                  ",\"total_tokens\":", usage.prompt_tokens + usage.completion_tokens,
                  ",\"completion_tokens\":", usage.completion_tokens);
  absl::StrAppend(out, ",\"prompt_tokens_details\":{\"cached_tokens\":", usage.cached_tokens, "}}");
}

// Ends the list of choices, the chunk and its event.
void AppendChunkEnd(const Usage* usage, std::string* out) {
  if (usage == nullptr) {
    out->append("]}\n\n");
    return;
  }
  out->append("],");
  AppendUsage(*usage, out);
  out->append("}\n\n");
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

void AppendStopReason(const FinishedChoice* finished, std::string* out) {
  if (finished != nullptr && finished->stop_string.has_value()) {
    AppendJsonString(*finished->stop_string, out);
  } else if (finished != nullptr && finished->stop_token.has_value()) {
    absl::StrAppend(out, *finished->stop_token);
  } else {
    out->append("null");
  }
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

AnswerWriter::AnswerWriter(AnswerIdentity identity, const Tokenizer& tokenizer)
    : identity_(std::move(identity)),
      tokenizer_(tokenizer),
      chunk_start_(
          absl::StrCat("data: ", Envelope(identity_.kind == ApiKind::kChat ? "chat.completion.chunk"
                                                                           : "text_completion"))) {}

// The answer's start, up to and with the bracket that opens its choices.
std::string AnswerWriter::Envelope(const char* object) const {
  std::string out = "{\"id\":";
  AppendJsonString(identity_.id, &out);
  absl::StrAppend(&out, ",\"object\":\"", object, "\",\"created\":", identity_.created,
                  ",\"model\":");
  AppendJsonString(identity_.model, &out);
  out.append(",\"choices\":[");
  return out;
}

void AnswerWriter::AppendRoleChunk(uint32_t index, const Usage* usage, std::string* out) const {
  absl::StrAppend(out, chunk_start_, "{\"index\":", index,
                  ",\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,"
                  "\"finish_reason\":null}");
  AppendChunkEnd(usage, out);
}

void AnswerWriter::AppendContentChunk(const ChoiceContent& content, const Usage* usage,
                                      std::string* out) const {
  absl::StrAppend(out, chunk_start_, "{\"index\":", content.index);
  const bool chat = identity_.kind == ApiKind::kChat;
  out->append(chat ? ",\"delta\":{" : ",\"text\":");
  if (content.piece != nullptr) {
    if (chat) out->append("\"content\":");
    AppendJsonString(content.piece->text, out);
  } else if (!chat) {
    out->append("\"\"");
  }
  if (chat) out->push_back('}');
  AppendChoiceEnd(content, out);
  AppendChunkEnd(usage, out);
}

void AnswerWriter::AppendUsageChunk(const Usage& usage, const RequestTimings* timings,
                                    std::string* out) const {
  absl::StrAppend(out, chunk_start_, "],");
  AppendUsage(usage, out);
  if (timings != nullptr) absl::StrAppend(out, ",\"timings\":", Dump(TimingsJson(*timings)));
  out->append("}\n\n");
}

std::string AnswerWriter::Body(const std::vector<ChoiceContent>& choices, const Usage& usage,
                               const RequestTimings* timings) const {
  const bool chat = identity_.kind == ApiKind::kChat;
  std::string out = Envelope(chat ? "chat.completion" : "text_completion");
  for (const ChoiceContent& content : choices) {
    absl::StrAppend(&out, out.back() == '[' ? "" : ",", "{\"index\":", content.index);
    out.append(chat ? ",\"message\":{\"role\":\"assistant\",\"content\":" : ",\"text\":");
    AppendJsonString(content.piece->text, &out);
    if (chat) out.push_back('}');
    AppendChoiceEnd(content, &out);
  }
  out.append("],");
  AppendUsage(usage, &out);
  out.append(",\"system_fingerprint\":null");
  if (timings != nullptr) absl::StrAppend(&out, ",\"timings\":", Dump(TimingsJson(*timings)));
  out.push_back('}');
  return out;
}

// From the choice's logprobs to its closing brace.
void AnswerWriter::AppendChoiceEnd(const ChoiceContent& content, std::string* out) const {
  if (content.piece != nullptr && content.with_logprobs) {
    absl::StrAppend(out, ",\"logprobs\":", Dump(Logprobs(content)));
  } else {
    out->append(",\"logprobs\":null");
  }
  if (content.finished == nullptr) {
    out->append(",\"finish_reason\":null,\"stop_reason\":null");
  } else {
    absl::StrAppend(out, ",\"finish_reason\":\"", content.finished->finish_reason,
                    "\",\"stop_reason\":");
    AppendStopReason(content.finished, out);
  }
  if (content.piece != nullptr && content.with_token_ids) {
    absl::StrAppend(out, ",\"token_ids\":[", absl::StrJoin(content.piece->tokens, ","), "]");
  }
  out->push_back('}');
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
