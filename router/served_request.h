// ServedRequest is one generating request of one client, from its prepared prompts to its last
// byte: it joins the core's events, the text and the connection.
//
// Owned by the core's routes, the connection's callbacks and nobody else. All state belongs to the
// connection's I/O thread.
// Every request is counted and logged once, however it ends.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/telemetry/router_metrics.h"
#include "router/core_turns.h"
#include "router/http/http_server.h"
#include "router/openai/completion_stream.h"
#include "router/openai/prepare_request.h"
#include "router/stream_delivery.h"

namespace tandem {

// What all requests share; outlives them.
struct ServingContext {
  CoreTurns* core = nullptr;
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

// A request as the text work leaves it.
struct ServableRequest {
  ApiKind kind = ApiKind::kCompletion;
  PreparedRequest prepared;
  AnswerOptions answer;
  std::optional<uint64_t> seed;  // the client's
  std::string cache_salt;
  Lane lane = Lane::kInteractive;
};

class ServedRequest : public StreamReceiver, public std::enable_shared_from_this<ServedRequest> {
 public:
  ServedRequest(const ServingContext& context, Endpoint endpoint, std::string trace_id,
                Instant arrived, std::shared_ptr<ResponseWriter> writer);

  // All on the I/O thread. Start or Fail once; without effect when the client has gone before.
  void Start(Parsed<ServableRequest> request);
  // The request never started.
  void Fail(const ApiError& error);
  void OnClientGone(ClientLoss why);

 private:
  void Submit(ServableRequest request);
  void OnTokens(size_t choice, const EmitTokens& tokens) override;
  void OnEnd(size_t choice, const EndStream& end) override;
  // False: the client is lost, and OnClientGone is called.
  bool Write(absl::string_view bytes);
  void Answer(absl::string_view last_bytes);
  void EndCancelled();
  void CancelOthers(size_t choice);
  void LogEnd(int status, absl::string_view finish);

  const ServingContext& context_;
  const Endpoint endpoint_;
  const std::string trace_id_;
  const Instant arrived_;
  const std::shared_ptr<ResponseWriter> writer_;
  std::unique_ptr<CompletionStream> stream_;  // null until Start
  std::vector<RequestId> requests_;           // one per choice
  std::vector<bool> ended_;
  std::optional<ClientLoss> client_loss_;
  bool over_ = false;  // the end was told, logged and counted
  bool head_sent_ = false;
  std::optional<Instant> last_tokens_at_;
};

}  // namespace tandem
