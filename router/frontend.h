// Frontend answers the router's HTTP requests: it routes paths to endpoints, has request bodies
// turned into tokens on the text thread, and starts a ServedRequest for each that generates.
// Thread-safe. Created and stopped by main; the contexts outlive it.
#pragma once

#include <atomic>
#include <functional>
#include <memory>

#include "common/base/bounded_queue.h"
#include "common/base/worker_thread.h"
#include "common/telemetry/metrics.h"
#include "router/http/http_server.h"
#include "router/served_request.h"

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
  // Ends the text thread. Idempotent.
  void Stop();

 private:
  void Generate(ApiKind kind, HttpRequest request, std::shared_ptr<ResponseWriter> writer);
  void Tokenize(bool reverse, HttpRequest request, std::shared_ptr<ResponseWriter> writer);
  // Runs `work` on the text thread; false: too much waits there.
  bool OnTextThread(std::function<void()> work);
  uint32_t MaxModelLen() const;
  HttpResponse Simple(const HttpRequest& request) const;

  const ServingContext& context_;
  const MetricsRegistry& registry_;
  const uint32_t fallback_model_len_;
  std::atomic<bool> draining_{false};
  BoundedQueue<std::function<void()>> text_queue_;
  WorkerThread text_thread_;
};

}  // namespace tandem
