#include "router/frontend.h"

#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "common/config/version.h"
#include "common/text/detokenizer.h"

namespace tandem {
namespace {

// "%20" becomes a space; what is not two hex digits after a '%' stays as it is.
std::string PercentDecoded(absl::string_view text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && absl::ascii_isxdigit(text[i + 1]) &&
        absl::ascii_isxdigit(text[i + 2])) {
      decoded += absl::HexStringToBytes(text.substr(i + 1, 2));
      i += 2;
    } else {
      decoded += text[i];
    }
  }
  return decoded;
}

// Bodies waiting for a text thread; a body is bounded by the HTTP server.
constexpr size_t kMaxTextWork = 1024;
// Text becomes tokens at a few megabytes a second. Up to the first size that is under a
// millisecond, up to the second it holds those who wait behind for tens of milliseconds at most.
constexpr size_t kAtOnceBytes = 2 << 10;
constexpr size_t kLongTextBytes = 64 << 10;

ApiError Overloaded() { return {503, "the router is overloaded", "", std::chrono::seconds(1)}; }

ApiError NotReady() { return {503, "no decode worker is ready", "", std::chrono::seconds(1)}; }

HttpResponse Text(int status, std::string body) {
  return {status, "text/plain; charset=utf-8", {}, std::move(body)};
}

HttpResponse Json(std::string body) { return {200, "application/json", {}, std::move(body)}; }

bool Is(absl::string_view path, absl::string_view a, absl::string_view b) {
  return path == a || path == b;
}

bool IsGetPath(absl::string_view path) {
  for (absl::string_view known : {"/v1/models", "/health", "/live", "/livez", "/ready", "/readyz",
                                  "/metrics", "/version", "/ping"}) {
    if (path == known) return true;
  }
  return absl::StartsWith(path, "/v1/models/");
}

bool IsPostPath(absl::string_view path) {
  for (absl::string_view known :
       {"/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize"}) {
    if (path == known) return true;
  }
  return false;
}

}  // namespace

Frontend::Frontend(const ServingContext& context, const MetricsRegistry& registry,
                   uint32_t fallback_model_len)
    : context_(context),
      registry_(registry),
      fallback_model_len_(fallback_model_len),
      text_("router-text", kMaxTextWork),
      long_text_("router-longtext", kMaxTextWork) {}

void Frontend::Stop() {
  text_.Stop();
  long_text_.Stop();
}

void Frontend::Handle(HttpRequest request, std::shared_ptr<ResponseWriter> writer) {
  const bool post_path = IsPostPath(request.path);
  const bool known = post_path || IsGetPath(request.path);
  const bool takes_it =
      post_path ? request.method == "POST" : request.method == "GET" || request.method == "HEAD";
  if (known && !takes_it) {
    HttpResponse response =
        ErrorResponse({405, absl::StrCat(request.path, " does not take ", request.method), "", {}});
    response.headers = {{"Allow", post_path ? "POST" : "GET, HEAD"}};
    return Answer(response, *writer);
  }
  if (request.path == "/v1/completions") {
    return Generate(ApiKind::kCompletion, std::move(request), std::move(writer));
  }
  if (request.path == "/v1/chat/completions") {
    return Generate(ApiKind::kChat, std::move(request), std::move(writer));
  }
  if (request.path == "/tokenize" || request.path == "/detokenize") {
    const bool reverse = request.path == "/detokenize";
    return Tokenize(reverse, std::move(request), std::move(writer));
  }
  Answer(Simple(request), *writer);
}

HttpResponse Frontend::Simple(const HttpRequest& request) const {
  const std::string& path = request.path;
  const bool ready = context_.core->ready() && !draining_;
  if (Is(path, "/live", "/livez")) return Text(200, "ok\n");
  if (Is(path, "/ready", "/readyz")) {
    return ready ? Text(200, "ok\n") : ErrorResponse(NotReady());
  }
  if (Is(path, "/health", "/ping")) {
    return ready ? Text(200, "") : ErrorResponse(NotReady());
  }
  if (path == "/metrics") return {200, kMetricsContentType, {}, registry_.RenderMetrics()};
  if (path == "/version") return Json(VersionBody(kVersion));
  if (path == "/v1/models") {
    return Json(ModelsBody(context_.model_name, context_.started_at, MaxModelLen()));
  }
  absl::string_view model = path;
  if (absl::ConsumePrefix(&model, "/v1/models/")) {
    const std::string name = PercentDecoded(model);
    if (name != context_.model_name) {
      return ErrorResponse({404, absl::StrCat("there is no model '", name, "'"), "model", {}});
    }
    return Json(ModelBody(context_.model_name, context_.started_at, MaxModelLen()));
  }
  return ErrorResponse({404, absl::StrCat("there is nothing at ", path), "", {}});
}

void Frontend::Generate(ApiKind kind, HttpRequest request, std::shared_ptr<ResponseWriter> writer) {
  const Endpoint endpoint =
      kind == ApiKind::kChat ? Endpoint::kChatCompletions : Endpoint::kCompletions;
  auto served = std::make_shared<ServedRequest>(context_, endpoint, request.request_id,
                                                SystemClock().Now(), writer);
  writer->OnGone([served](ClientLoss why) { served->OnClientGone(why); });
  if (draining_) return served->Fail({503, "the router is shutting down", "", {}});
  const size_t bytes = request.body.size();
  if (bytes <= kAtOnceBytes) return served->Start(Prepare(kind, request.body));
  auto work = [this, kind, served, writer, body = std::move(request.body),
               room = std::move(request.body_room)] {
    writer->Post(
        [served, prepared = Prepare(kind, body)]() mutable { served->Start(std::move(prepared)); });
  };
  if (!RunTextWork(bytes, std::move(work))) served->Fail(Overloaded());
}

// From the body to what can be submitted.
Parsed<ServableRequest> Frontend::Prepare(ApiKind kind, absl::string_view body) const {
  Parsed<CompletionRequest> parsed =
      ParseCompletionRequest(kind, body, context_.text->tokenizer.vocab_size());
  if (!parsed.ok()) return parsed.error();
  CompletionRequest& request = parsed.value();
  if (request.model.has_value() && *request.model != context_.model_name) {
    return ApiError{404,
                    absl::StrCat("there is no model '", *request.model, "'; this is '",
                                 context_.model_name, "'"),
                    "model",
                    {}};
  }
  request.chat.now = absl::Now();
  Parsed<PreparedRequest> prepared = PrepareRequest(request, *context_.text, MaxModelLen());
  if (!prepared.ok()) return prepared.error();
  return ServableRequest{.kind = kind,
                         .prepared = std::move(prepared.value()),
                         .answer = AnswerOptions::From(request),
                         .seed = request.seed,
                         .cache_salt = std::move(request.cache_salt),
                         .lane = request.lane};
}

void Frontend::Tokenize(bool reverse, HttpRequest request, std::shared_ptr<ResponseWriter> writer) {
  const size_t bytes = request.body.size();
  auto work = [this, reverse, writer, body = std::move(request.body),
               room = std::move(request.body_room)] {
    HttpResponse response;
    if (reverse) {
      auto tokens = ParseDetokenizeRequest(body, context_.text->tokenizer.vocab_size());
      response = tokens.ok()
                     ? Json(DetokenizeBody(Decode(context_.text->tokenizer, tokens.value(), false)))
                     : ErrorResponse(tokens.error());
    } else {
      auto parsed = ParseTokenizeRequest(body);
      auto tokens = parsed.ok()
                        ? tandem::Tokenize(std::move(parsed.value()), *context_.text, absl::Now())
                        : Parsed<std::vector<TokenId>>(parsed.error());
      response = tokens.ok() ? Json(TokenizeBody(tokens.value(), MaxModelLen()))
                             : ErrorResponse(tokens.error());
    }
    writer->Post([this, writer, response = std::move(response)] { Answer(response, *writer); });
  };
  if (!RunTextWork(bytes, std::move(work))) Answer(ErrorResponse(Overloaded()), *writer);
}

void Frontend::Answer(const HttpResponse& response, ResponseWriter& writer) const {
  CountAnswer(context_.metrics, Endpoint::kOther, response.status);
  writer.Respond(response);
}

bool Frontend::RunTextWork(size_t bytes, TextWork work) {
  return (bytes <= kLongTextBytes ? text_ : long_text_).Add(std::move(work));
}

uint32_t Frontend::MaxModelLen() const {
  const uint32_t longest = context_.core->max_model_len();
  return longest != 0 ? longest : fallback_model_len_;
}

}  // namespace tandem
