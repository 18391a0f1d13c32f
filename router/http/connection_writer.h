// ConnectionWriter answers one request of one HttpConnection. It refers to its connection weakly: a
// handler may keep it longer than the connection lives. Includes Asio: for the .cc files of this
// folder only.
#pragma once

#include <boost/asio/post.hpp>
#include <memory>
#include <utility>

#include "router/http/http_connection.h"

namespace tandem {

class ConnectionWriter : public ResponseWriter {
 public:
  ConnectionWriter(std::weak_ptr<HttpConnection> connection, uint64_t answer, IoExecutor executor,
                   size_t io_thread)
      : connection_(std::move(connection)),
        answer_(answer),
        executor_(std::move(executor)),
        io_thread_(io_thread) {}

  ~ConnectionWriter() override {
    if (answered_ || connection_.expired()) return;
    boost::asio::post(executor_, [weak = connection_, answer = answer_] {
      auto connection = weak.lock();
      if (connection != nullptr && connection->Awaits(answer)) {
        connection->Close(ClientLoss::kLeft);
      }
    });
  }

  void Post(absl::AnyInvocable<void()> work) override {
    boost::asio::post(executor_, std::move(work));
  }

  size_t io_thread() const override { return io_thread_; }

  void OnGone(std::function<void(ClientLoss)> callback) override {
    if (auto c = Current()) {
      c->OnGone(std::move(callback));
    } else {
      boost::asio::post(executor_,
                        [callback = std::move(callback)] { callback(ClientLoss::kLeft); });
    }
  }

  void Respond(const HttpResponse& response) override {
    answered_ = true;
    if (auto c = Current()) c->SendWhole(response);
  }

  void StartStream(const HttpResponse& response) override {
    if (auto c = Current()) c->SendStreamHead(response);
  }

  bool Write(absl::string_view bytes) override {
    auto c = Current();
    return c != nullptr && (bytes.empty() || c->SendPiece(bytes));
  }

  void EndStream() override {
    answered_ = true;
    if (auto c = Current()) c->SendStreamEnd();
  }

 private:
  // The connection while it still waits for this answer.
  std::shared_ptr<HttpConnection> Current() const {
    auto c = connection_.lock();
    return c != nullptr && c->Awaits(answer_) ? c : nullptr;
  }

  const std::weak_ptr<HttpConnection> connection_;
  const uint64_t answer_;
  const IoExecutor executor_;
  const size_t io_thread_;
  bool answered_ = false;
};

}  // namespace tandem
