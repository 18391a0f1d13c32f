// HttpServer speaks HTTP/1.1 on one port and hands complete requests to a handler, which answers
// through a ResponseWriter: whole, or as a stream of pieces.
//
// Thread rule: each connection belongs to one of the server's own I/O threads. Everything that a
// handler or a callback is given runs on that thread and must not block. ResponseWriter::Post may
// be called from any thread, its other methods on the I/O thread only. Bounds:
// header and body size, all bodies together, time to send them, idle time, unsent bytes of a stream
// and the time they may take; a client beyond them loses its connection and nobody else waits for
// it. Not for: TLS, HTTP/2, WebSocket.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/clock.h"
#include "router/http/body_budget.h"

namespace tandem {

struct HttpRequest {
  std::string method;
  std::string path;        // as sent, without the query
  std::string request_id;  // the client's X-Request-Id, or one drawn here; the answer carries it
  std::string body;
  std::shared_ptr<BodyRoom> body_room;  // to be kept as long as `body`
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers;  // further ones
  std::string body;
};

// Why an answer did not reach its client.
enum class ClientLoss : uint8_t {
  kLeft,     // it closed the connection, or the server did at its end
  kTooSlow,  // more waited for it than may wait, or for longer
};

// One answer to one request. What is written leaves soon, and in one piece with what is written
// together with it. A writer that is dropped unanswered closes its connection.
class ResponseWriter {
 public:
  virtual ~ResponseWriter() = default;

  // Runs `work` on the I/O thread, even when the client has gone, unless the server has been shut
  // down. From any thread; the server must still exist.
  virtual void Post(absl::AnyInvocable<void()> work) = 0;

  // Which of the server's threads that is, from 0.
  virtual size_t io_thread() const = 0;

  // Called at most once, on the I/O thread, when the client went away, or was too slow, before the
  // whole answer had left: perhaps after it was written. What is written afterwards is dropped.
  virtual void OnGone(std::function<void(ClientLoss)> callback) = 0;

  virtual void Respond(const HttpResponse& response) = 0;

  // The head of `response` (its body is ignored), then pieces, then the end.
  virtual void StartStream(const HttpResponse& response) = 0;
  // False: the client is lost; OnGone's callback has been called or will be.
  virtual bool Write(absl::string_view bytes) = 0;
  virtual void EndStream() = 0;
};

// Called on a connection's I/O thread; may answer at once or later.
using HttpHandler = std::function<void(HttpRequest, std::shared_ptr<ResponseWriter>)>;

struct HttpServerOptions {
  std::string host = "127.0.0.1";
  uint16_t port = 0;
  uint32_t io_threads = 1;
  uint32_t max_connections = 4096;
  size_t max_header_bytes = 32 << 10;
  uint64_t max_body_bytes = 4 << 20;
  uint64_t max_total_body_bytes = 256 << 20;        // at one time; beyond it 503
  Duration idle_limit = std::chrono::seconds(75);   // between requests, the next header included
  Duration body_limit = std::chrono::seconds(60);   // from the header to the last byte of the body
  Duration write_limit = std::chrono::seconds(30);  // without one piece of output leaving
  size_t max_unsent_bytes = 256 << 10;              // of a stream
  // The JSON body of the answer to a request that cannot be read, which no handler hears of. Called
  // once for each.
  std::function<std::string(int status, const std::string& reason, const std::string& request_id)>
      refusal_body;
};

class HttpServer {
 public:
  // Binds and begins to serve. UNAVAILABLE when the address is in use or cannot be bound.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const HttpServerOptions& options,
                                                           HttpHandler handler);
  virtual ~HttpServer() = default;  // as Shutdown with no patience and nothing that cuts

  virtual uint16_t port() const = 0;

  // Accepts no more, closes idle connections, lets answers in progress complete until `patience`
  // has passed, then calls `cut`, which has the rest end early, and closes what has not ended a
  // second later. Returns when all threads have ended. Idempotent.
  virtual void Shutdown(Duration patience, const std::function<void()>& cut) = 0;
};

}  // namespace tandem
