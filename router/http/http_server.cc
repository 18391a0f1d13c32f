#include "router/http/http_server.h"

#include <algorithm>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <deque>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/mutex.h"
#include "common/base/worker_thread.h"
#include "router/http/http_connection.h"

namespace tandem {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

// For what is left to say after the cut.
constexpr Duration kLastAnswers = std::chrono::seconds(1);
// After an accept that failed for want of file descriptors.
constexpr Duration kAcceptPause = std::chrono::milliseconds(100);

class BeastServer : public HttpServer {
 public:
  BeastServer(const HttpServerOptions& options, HttpHandler handler)
      : options_(options),
        handler_(std::move(handler)),
        bodies_(std::max(options.max_total_body_bytes, options.max_body_bytes)),
        io_(options.io_threads),
        acceptor_(io_[0].context),
        accept_timer_(acceptor_.get_executor()) {}

  ~BeastServer() override {
    Shutdown(Duration::zero(), [] {});
  }

  absl::Status Listen() {
    error_code ec;
    const auto address = asio::ip::make_address(options_.host, ec);
    if (ec) return absl::InvalidArgumentError(absl::StrCat(options_.host, ": not an IP address"));
    const Tcp::endpoint endpoint(address, options_.port);
    acceptor_.open(endpoint.protocol(), ec);
    if (!ec) acceptor_.set_option(asio::socket_base::reuse_address(true), ec);
    if (!ec) acceptor_.bind(endpoint, ec);
    if (!ec) acceptor_.listen(asio::socket_base::max_listen_connections, ec);
    if (!ec) port_ = acceptor_.local_endpoint(ec).port();
    if (ec) {
      return absl::UnavailableError(
          absl::StrCat("cannot listen on ", options_.host, ":", options_.port, ": ", ec.message()));
    }
    asio::post(acceptor_.get_executor(), [this] { Accept(); });
    for (uint32_t i = 0; i < options_.io_threads; ++i) {
      threads_.emplace_back(absl::StrCat("http-", i),
                            [context = &io_[i].context] { context->run(); });
    }
    return absl::OkStatus();
  }

  uint16_t port() const override { return port_; }

  void Shutdown(Duration patience, const std::function<void()>& cut) override {
    if (std::exchange(shut_down_, true)) return;
    asio::post(acceptor_.get_executor(), [this] {
      error_code ignored;
      acceptor_.close(ignored);
      accept_timer_.cancel();
    });
    ForEachConnection([](HttpConnection& c) { c.Drain(); });
    if (!WaitUntilEmpty(patience)) cut();
    if (!WaitUntilEmpty(kLastAnswers)) {
      ForEachConnection([](HttpConnection& c) { c.Close(ClientLoss::kLeft); });
      WaitUntilEmpty(std::chrono::seconds(1));
    }
    // Without the guards the threads return once the last handler has run.
    for (IoThread& thread : io_) thread.work.reset();
    threads_.clear();
  }

 private:
  // What one thread runs. No other thread does, so that its connections need no lock.
  struct IoThread {
    asio::io_context context{1};
    asio::executor_work_guard<IoExecutor> work{context.get_executor()};
  };

  // Connections are dealt to the threads in turn.
  void Accept() {
    const size_t thread = next_thread_++ % io_.size();
    acceptor_.async_accept(io_[thread].context, [this, thread](error_code ec, IoSocket socket) {
      if (!acceptor_.is_open()) return;
      if (!ec) {
        Add(std::move(socket), thread);
        return Accept();
      }
      accept_timer_.expires_after(kAcceptPause);
      accept_timer_.async_wait([this](error_code stopped) {
        if (!stopped) Accept();
      });
    });
  }

  void Add(IoSocket socket, size_t thread) {
    error_code ignored;
    // Small events must leave at once, not after the peer's delayed acknowledgement.
    socket.set_option(Tcp::no_delay(true), ignored);
    auto connection =
        std::make_shared<HttpConnection>(std::move(socket), thread, options_, handler_, &bodies_,
                                         [this](HttpConnection* c) { Remove(c); });
    {
      MutexLock lock(&mutex_);
      if (connections_.size() >= options_.max_connections) return;
      connections_.emplace(connection.get(), connection);
    }
    asio::post(connection->executor(), [connection] { connection->Start(); });
  }

  void Remove(HttpConnection* connection) {
    MutexLock lock(&mutex_);
    connections_.erase(connection);
    if (connections_.empty()) empty_.NotifyAll();
  }

  template <class Work>
  void ForEachConnection(Work work) {
    MutexLock lock(&mutex_);
    for (const auto& [address, weak] : connections_) {
      if (auto connection = weak.lock()) {
        asio::post(connection->executor(), [connection, work] { work(*connection); });
      }
    }
  }

  bool WaitUntilEmpty(Duration patience) {
    MutexLock lock(&mutex_);
    return empty_.WaitUntil(&mutex_, SystemClock().Now() + patience,
                            [this]()
                                ABSL_NO_THREAD_SAFETY_ANALYSIS { return connections_.empty(); });
  }

  const HttpServerOptions options_;
  const HttpHandler handler_;
  BodyBudget bodies_;
  std::deque<IoThread> io_;
  size_t next_thread_ = 0;  // of the acceptor's thread
  asio::basic_socket_acceptor<Tcp, IoExecutor> acceptor_;
  IoTimer accept_timer_;
  uint16_t port_ = 0;
  bool shut_down_ = false;

  Mutex mutex_;
  CondVar empty_;
  absl::flat_hash_map<HttpConnection*, std::weak_ptr<HttpConnection>> connections_
      ABSL_GUARDED_BY(mutex_);
  std::vector<WorkerThread> threads_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const HttpServerOptions& options,
                                                              HttpHandler handler) {
  TANDEM_CHECK(options.refusal_body != nullptr && options.io_threads > 0);
  auto server = std::make_unique<BeastServer>(options, std::move(handler));
  const absl::Status status = server->Listen();
  if (!status.ok()) return status;
  return server;
}

}  // namespace tandem
