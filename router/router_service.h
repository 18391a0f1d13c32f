// RouterService is the whole router but its process: model text, core, sessions, HTTP. Main runs
// it; tests run it with fake sessions. Thread-compatible: created, drained and destroyed by one
// thread.
#pragma once

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "common/config/config.h"
#include "common/rpc/session_client.h"
#include "common/telemetry/metrics.h"
#include "common/telemetry/router_metrics.h"
#include "router/core_turns.h"
#include "router/frontend.h"
#include "router/http/http_server.h"
#include "router/openai/prepare_request.h"
#include "router/served_request.h"
#include "router/stream_delivery.h"

namespace tandem {

// What the model file says that the router needs.
struct RouterModel {
  TextModel text;
  std::string name;
  std::string fingerprint;  // empty: workers of any model
  uint32_t context_length = 0;
};
absl::StatusOr<RouterModel> LoadRouterModel(const RouterConfig& config);

// Calls the workers; the sink is told what they say.
using SessionStarter = std::function<std::unique_ptr<SessionClient>(SessionClientSink* sink)>;
SessionStarter GrpcSessions(const RouterConfig& config);

class RouterService {
 public:
  // Binds the port and begins to serve. UNAVAILABLE when the address is taken.
  static absl::StatusOr<std::unique_ptr<RouterService>> Start(const RouterConfig& config,
                                                              RouterModel model,
                                                              const SessionStarter& start_sessions);
  ~RouterService();

  uint16_t port() const { return server_->port(); }

  // Refuses new requests and gives those in progress `patience` to complete; then they end with an
  // error, and everything with them. Idempotent.
  void Stop(Duration patience);

 private:
  RouterService(const RouterConfig& config, RouterModel model);
  void FeedMetrics(const RouterStats& stats);

  const RouterConfig config_;
  const RouterModel model_;
  // Outlives what is below: requests that still wait there belong to its connections.
  std::unique_ptr<HttpServer> server_;
  MetricsRegistry registry_;
  RouterMetrics metrics_;
  ServingContext context_;
  StreamDelivery delivery_;
  std::unique_ptr<CoreTurns> core_;
  std::unique_ptr<SessionClient> sessions_;
  std::unique_ptr<Frontend> frontend_;
};

}  // namespace tandem
