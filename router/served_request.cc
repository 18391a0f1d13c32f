#include "router/served_request.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/telemetry/log.h"
#include "router/stream_delivery.h"

namespace tandem {
namespace {

ErrorType TypeOf(int status) {
  switch (status) {
    case 429:
      return ErrorType::kOverload;
    case 503:
      return ErrorType::kOverload;
    case 504:
      return ErrorType::kTimeout;
    case 500:
      return ErrorType::kWorker;
    default:
      return status < 500 ? ErrorType::kValidation : ErrorType::kInternal;
  }
}

const char* LossText(ClientLoss why) {
  return why == ClientLoss::kTooSlow ? "the client read too slowly" : "the client went away";
}

}  // namespace

HttpResponse ErrorResponse(const ApiError& error) {
  HttpResponse response;
  response.status = error.status;
  response.body = ErrorBody(error);
  if (error.retry_after > Duration::zero()) {
    const double seconds = std::ceil(ToSeconds(error.retry_after));
    response.headers = {
        {"Retry-After", absl::StrCat(static_cast<int64_t>(seconds))},
        {"retry-after-ms", absl::StrCat(static_cast<int64_t>(ToMilliseconds(error.retry_after)))}};
  }
  return response;
}

void CountAnswer(RouterMetrics* metrics, Endpoint endpoint, int status) {
  const StatusClass status_class = status < 400   ? StatusClass::k2xx
                                   : status < 500 ? StatusClass::k4xx
                                                  : StatusClass::k5xx;
  metrics->requests[endpoint][status_class].Add();
  if (status >= 400) metrics->errors[TypeOf(status)].Add();
}

ServedRequest::ServedRequest(const ServingContext& context, Endpoint endpoint, std::string trace_id,
                             Instant arrived, std::shared_ptr<ResponseWriter> writer)
    : context_(context),
      endpoint_(endpoint),
      trace_id_(std::move(trace_id)),
      arrived_(arrived),
      writer_(std::move(writer)) {}

void ServedRequest::Start(Parsed<ServableRequest> request) {
  if (over_) return;
  if (!request.ok()) return Fail(request.error());
  const PreparedRequest& prepared = request.value().prepared;
  const bool chat = request.value().kind == ApiKind::kChat;
  std::vector<uint32_t> lengths;
  for (const auto& prompt : prepared.prompts)
    lengths.push_back(static_cast<uint32_t>(prompt.size()));
  AnswerIdentity identity{.kind = request.value().kind,
                          .id = absl::StrCat(chat ? "chatcmpl-" : "cmpl-",
                                             absl::Hex(context_.random_bits(), absl::kZeroPad16),
                                             absl::Hex(context_.random_bits(), absl::kZeroPad16)),
                          .model = context_.model_name,
                          .created = absl::ToUnixSeconds(absl::Now())};
  stream_ = std::make_unique<CompletionStream>(
      std::move(identity), std::move(request.value().answer), lengths, context_.text->tokenizer);
  Submit(std::move(request.value()));
}

void ServedRequest::Submit(ServableRequest request) {
  PreparedRequest& prepared = request.prepared;
  const Instant deadline = arrived_ + context_.request_timeout;
  ended_.assign(prepared.prompts.size(), false);
  for (size_t i = 0; i < prepared.prompts.size(); ++i) {
    SubmitEvent event{.request = RequestId(context_.random_bits()),
                      .trace_id = trace_id_,
                      .prompt = std::move(prepared.prompts[i]),
                      .sampling = std::move(prepared.sampling[i]),
                      .cache_salt = request.cache_salt,
                      .deadline = deadline,
                      .lane = request.lane};
    if (!request.seed.has_value()) event.sampling.seed = context_.random_bits();
    requests_.push_back(event.request);
    if (!context_.core->Submit(std::move(event), std::make_shared<StreamDelivery::Route>(
                                                     shared_from_this(), i, writer_))) {
      for (size_t j = i; j < ended_.size(); ++j) ended_[j] = true;
      CancelOthers(i);
      return Fail({503, "the router is overloaded", "", std::chrono::seconds(1)});
    }
  }
  writer_->Post([core = context_.core] { core->HandleSubmitted(); });
}

void ServedRequest::Fail(const ApiError& error) {
  if (std::exchange(over_, true)) return;
  writer_->Respond(ErrorResponse(error));
  CountAnswer(context_.metrics, endpoint_, error.status);
  Log(Level::kInfo, "request refused",
      {{"request", trace_id_}, {"status", error.status}, {"reason", error.message}});
}

void ServedRequest::OnClientGone(ClientLoss why) {
  if (over_) {  // the answer was complete, but not all of it had left
    return Log(Level::kInfo, "answer not delivered",
               {{"request", trace_id_}, {"reason", LossText(why)}});
  }
  client_loss_ = why;
  if (stream_ == nullptr) {
    over_ = true;
    context_.metrics->cancelled.Add();
    return Log(Level::kInfo, "request cancelled before it was submitted",
               {{"request", trace_id_}, {"status", 499}, {"reason", LossText(why)}});
  }
  if (stream_->done()) return EndCancelled();
  CancelOthers(ended_.size());
}

void ServedRequest::OnTokens(size_t choice, const EmitTokens& tokens) {
  if (over_ || client_loss_.has_value()) return;
  const Instant now = SystemClock().Now();
  if (!last_tokens_at_.has_value()) {
    context_.metrics->ttft.Observe(ToSeconds(now - arrived_));
  } else if (!tokens.tokens.empty()) {
    context_.metrics->itl.Observe(ToSeconds(now - *last_tokens_at_) / tokens.tokens.size());
  }
  last_tokens_at_ = now;
  CompletionStream::Output output = stream_->OnTokens(choice, tokens.tokens, tokens.logprobs);
  if (!output.bytes.empty()) Write(output.bytes);
  if (output.stop_matched) context_.core->StopMatched(requests_[choice]);
}

void ServedRequest::OnEnd(size_t choice, const EndStream& end) {
  ended_[choice] = true;
  if (over_) return;
  const bool cancelled = end.error.has_value() && end.error->kind == StreamErrorKind::kCancelled;
  CompletionStream::Output output = stream_->OnEnd(choice, end);
  if (!stream_->done()) {
    if (!client_loss_.has_value() && !output.bytes.empty()) Write(output.bytes);
    return;
  }
  CancelOthers(choice);
  if (client_loss_.has_value() || cancelled) return EndCancelled();
  Answer(output.bytes);
}

// All choices have ended: the answer, or what is left of it.
void ServedRequest::Answer(absl::string_view last_bytes) {
  int status = 200;
  if (stream_->error().has_value() && !stream_->started()) {
    status = stream_->error()->status;
    writer_->Respond(ErrorResponse(*stream_->error()));
  } else if (stream_->streamed()) {
    if (!Write(last_bytes)) return;
    writer_->EndStream();
    if (stream_->error().has_value()) {
      context_.metrics->errors[TypeOf(stream_->error()->status)].Add();
    }
  } else {
    HttpResponse response;
    response.body = std::string(last_bytes);
    writer_->Respond(response);
  }
  over_ = true;
  CountAnswer(context_.metrics, endpoint_, status);
  context_.metrics->e2e.Observe(ToSeconds(SystemClock().Now() - arrived_));
  LogEnd(status, stream_->finish_reason());
}

void ServedRequest::EndCancelled() {
  over_ = true;
  context_.metrics->cancelled.Add();
  LogEnd(499, "cancelled");
}

bool ServedRequest::Write(absl::string_view bytes) {
  if (!stream_->streamed()) return true;
  if (!std::exchange(head_sent_, true)) {
    HttpResponse head;
    head.content_type = "text/event-stream; charset=utf-8";
    head.headers = {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}};
    writer_->StartStream(head);
  }
  return writer_->Write(bytes);
}

void ServedRequest::CancelOthers(size_t choice) {
  for (size_t i = 0; i < ended_.size(); ++i) {
    if (i != choice && !ended_[i]) context_.core->ClientGone(requests_[i]);
  }
}

void ServedRequest::LogEnd(int status, absl::string_view finish) {
  const RequestTimings& t = stream_->timings();
  const Usage usage = stream_->usage();
  std::string error;
  if (stream_->error().has_value()) error = stream_->error()->message;
  if (client_loss_.has_value()) error = LossText(*client_loss_);
  context_.metrics->queue_wait.Observe(ToSeconds(t.queued));
  context_.metrics->tokens[RouterTokens::kPrompt].Add(usage.prompt_tokens);
  context_.metrics->tokens[RouterTokens::kPromptCached].Add(usage.cached_tokens);
  context_.metrics->tokens[RouterTokens::kGenerated].Add(usage.completion_tokens);
  Log(Level::kInfo, "request done",
      {{"request", trace_id_},
       {"id", stream_->identity().id},
       {"status", status},
       {"finish", std::string(finish)},
       {"error", error},
       {"prompt_tokens", usage.prompt_tokens},
       {"completion_tokens", usage.completion_tokens},
       {"cached_tokens", t.cached_tokens},
       {"pushed_tokens", t.pushed_tokens},
       {"computed_tokens", t.computed_tokens},
       {"pushed_bytes", t.pushed_bytes},
       {"decode_workers", t.epochs},
       {"prefill_workers", t.attempts},
       {"queue_ms", ToMilliseconds(t.queued)},
       {"route_ms", ToMilliseconds(t.route)},
       {"prefill_ms", ToMilliseconds(t.prefill_queued + t.prefill)},
       {"push_ms", ToMilliseconds(t.push)},
       {"landed_ms", ToMilliseconds(t.landed)},
       {"first_token_ms", ToMilliseconds(t.first_token)},
       {"total_ms", ToMilliseconds(t.total)},
       {"tokens_per_second", t.tokens_per_second}});
}

}  // namespace tandem
