// ServedRequest is one generating request of one client, from its prepared prompts to its last
// byte: it joins the core's events, the text and the connection.
//
// Owned by the core thread's listeners, the connection's callbacks and nobody else. All state is
// the connection's strand's; OnTokens and OnEnd of the core thread only post to it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/telemetry/router_metrics.h"
#include "router/core_thread.h"
#include "router/http/http_server.h"
#include "router/openai/completion_stream.h"
#include "router/openai/prepare_request.h"

namespace tandem {

// What all requests share; outlives them.
struct ServingContext {
  CoreThread* core = nullptr;
  RouterMetrics* metrics = nullptr;
  const TextModel* text = nullptr;
  std::string model_name;
  int64_t started_at = 0;  // seconds since the epoch
  Duration request_timeout{};
  std::function<uint64_t()> random_bits;
};

// An error as a whole HTTP response, with Retry-After where it has one.
HttpResponse ErrorResponse(const ApiError& error);

// One answer of `endpoint` is complete, with this HTTP status.
void CountAnswer(RouterMetrics* metrics, Endpoint endpoint, int status);

class ServedRequest : public std::enable_shared_from_this<ServedRequest> {
 public:
  ServedRequest(const ServingContext& context, std::string trace_id, Instant arrived,
                std::shared_ptr<ResponseWriter> writer);

  // On the strand, once, unless the client went away before.
  void Start(const CompletionRequest& request, PreparedRequest prepared);
  // On the strand: the request never started.
  void Fail(const ApiError& error, Endpoint endpoint);
  // On the strand: the client went away.
  void OnClientGone();

 private:
  class ChoiceListener;

  void OnTokens(size_t choice, const EmitTokens& tokens);
  void OnEnd(size_t choice, const EndStream& end);
  void Write(std::string bytes);
  void Complete();
  void CancelOthers(size_t choice);
  void LogEnd(int status, absl::string_view finish);

  const ServingContext& context_;
  const std::string trace_id_;
  const Instant arrived_;
  const std::shared_ptr<ResponseWriter> writer_;
  Endpoint endpoint_ = Endpoint::kCompletions;
  std::unique_ptr<CompletionStream> stream_;  // null until Start
  std::vector<RequestId> requests_;           // one per choice
  std::vector<bool> ended_;
  bool client_gone_ = false;
  bool over_ = false;  // the end was told, logged and counted
  bool head_sent_ = false;
  std::optional<Instant> last_tokens_at_;
};

}  // namespace tandem
