// Frontend answers the router's HTTP requests: it routes paths to endpoints, has request bodies
// turned into tokens, and starts a ServedRequest for each that generates. A short body becomes
// tokens at once, on the connection's thread, in less time than handing it over would take; longer
// ones on the text thread, and the longest, of which one may take a second, on a thread of their
// own, so that nobody else waits for them. Thread-safe. Created and stopped by main; the contexts
// outlive it.
#pragma once

#include <atomic>
#include <functional>
#include <memory>

#include "common/telemetry/metrics.h"
#include "router/http/http_server.h"
#include "router/served_request.h"
#include "router/text_thread.h"

namespace tandem {

class Frontend {
 public:
  // `fallback_model_len` is what /v1/models shows, and prompts may have, while no worker is up.
  Frontend(const ServingContext& context, const MetricsRegistry& registry,
           uint32_t fallback_model_len);
  ~Frontend() { Stop(); }

  // The handler for HttpServer.
  void Handle(HttpRequest request, std::shared_ptr<ResponseWriter> writer);
  // From now on /ready answers 503, and new requests too.
  void Drain() { draining_ = true; }
  // Ends the text threads. Idempotent.
  void Stop();

 private:
  void Generate(ApiKind kind, HttpRequest request, std::shared_ptr<ResponseWriter> writer);
  Parsed<ServableRequest> Prepare(ApiKind kind, absl::string_view body) const;
  void Answer(const HttpResponse& response, ResponseWriter& writer) const;
  void Tokenize(bool reverse, HttpRequest request, std::shared_ptr<ResponseWriter> writer);
  // Runs `work`, which takes time with a body of `bytes` bytes, on a text thread. False: too much
  // waits there.
  bool RunTextWork(size_t bytes, TextWork work);
  uint32_t MaxModelLen() const;
  HttpResponse Simple(const HttpRequest& request) const;

  const ServingContext& context_;
  const MetricsRegistry& registry_;
  const uint32_t fallback_model_len_;
  std::atomic<bool> draining_{false};
  TextThread text_;
  TextThread long_text_;
};

}  // namespace tandem
