// One connection of the HTTP server. Includes Beast: for the .cc files of this folder only.
//
// States, all on the connection's I/O thread:
//   kHead    waiting for a request's header (idle between requests)
//   kBody    receiving its body
//   kAnswer  the handler has the request
//   kLinger  the answer said "close": what still comes in is read and dropped, so that the client
//            gets the answer before a reset
//   kClosed
// Input is waited for in every state but the last, so that a client that leaves is seen, unless it
// has sent far ahead; a connection that waits holds no buffer for it. Output gathers in `pending_`
// and leaves in one write once everything that the thread had to do already has been done: events
// that came together leave together.
//
// A client may close its sending side after a request and wait for the answer; that looks like one
// that has left. It is sent something that means nothing: if it is there nothing happens, if it has
// left its machine answers with a reset. Later it is noticed to have left when more is written.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "common/base/clock.h"
#include "router/http/http_server.h"

namespace tandem {

using Tcp = boost::asio::ip::tcp;
using IoExecutor = boost::asio::io_context::executor_type;
using IoSocket = boost::asio::basic_stream_socket<Tcp, IoExecutor>;
using IoTimer = boost::asio::basic_waitable_timer<
    std::chrono::steady_clock, boost::asio::wait_traits<std::chrono::steady_clock>, IoExecutor>;

class HttpConnection : public std::enable_shared_from_this<HttpConnection> {
 public:
  // `on_closed` is called once, on the I/O thread, with this object.
  HttpConnection(IoSocket socket, size_t io_thread, const HttpServerOptions& options,
                 const HttpHandler& handler, BodyBudget* bodies,
                 std::function<void(HttpConnection*)> on_closed)
      : io_thread_(io_thread),
        options_(options),
        handler_(handler),
        bodies_(bodies),
        on_closed_(std::move(on_closed)),
        socket_(std::move(socket)),
        timer_(socket_.get_executor()) {}

  void Start();
  // No request after the current one; an idle connection closes. On the I/O thread.
  void Drain();
  // Ends the connection at once; a handler that waits is told through OnGone.
  void Close(ClientLoss why);
  IoExecutor executor() { return socket_.get_executor(); }

  // For the ResponseWriter of request number `answer`, on the I/O thread. What is said of a request
  // that is not waited for any more is dropped.
  bool Awaits(uint64_t answer) const {
    return state_ == State::kAnswer && answer_ == answer && !answered_;
  }
  void OnGone(std::function<void(ClientLoss)> callback) { on_gone_ = std::move(callback); }
  void SendWhole(const HttpResponse& response);
  void SendStreamHead(const HttpResponse& response);
  bool SendPiece(absl::string_view bytes);  // false: the connection was too slow and is closed
  void SendStreamEnd();

 private:
  enum class State { kHead, kBody, kAnswer, kLinger, kClosed };
  using Parser = boost::beast::http::request_parser<boost::beast::http::string_body>;

  // http_connection.cc: requests.
  void AwaitRequest();
  void AwaitInput();
  void OnReadable();
  void ReleaseInput();
  void OnInputEnd(boost::beast::error_code ec);
  void Parse();
  bool ParseMore(boost::beast::error_code* ec);
  void OnHead();
  void RefuseUnreadable(boost::beast::error_code ec);
  void Refuse(int status, const std::string& reason);
  void Dispatch();
  void ProbeClient();

  // http_answer.cc: answers and ends.
  void AppendHead(const HttpResponse& response, std::optional<size_t> content_length);
  void ScheduleFlush();
  void Flush();
  void WriteRest();
  void AnswerComplete();
  void Linger();
  void SetLimit(Duration limit);
  void ArmTimer();

  const size_t io_thread_;
  const HttpServerOptions& options_;
  const HttpHandler& handler_;
  BodyBudget* const bodies_;
  std::function<void(HttpConnection*)> on_closed_;
  IoSocket socket_;
  boost::beast::flat_buffer input_;
  std::optional<Parser> parser_;
  State state_ = State::kHead;
  bool waiting_ = false;      // for input
  bool input_ended_ = false;  // the client has closed its sending side

  // The connection ends when `limit_` passes. The timer is set to it or to an earlier time, so that
  // moving the limit away, which every request does, costs nothing.
  Instant limit_ = kNever;
  Instant timer_at_ = kNever;
  IoTimer timer_;

  // Of the request in progress.
  uint64_t answer_ = 0;  // counts requests, so that a late writer cannot answer the next one
  bool head_request_ = false;
  bool http_1_0_ = false;
  bool keep_alive_ = false;
  bool chunked_ = false;
  bool head_sent_ = false;
  bool answered_ = false;  // everything is in pending_ or has left
  std::string request_id_;
  std::shared_ptr<BodyRoom> body_room_;  // while its body is received
  std::function<void(ClientLoss)> on_gone_;

  bool draining_ = false;
  bool flush_scheduled_ = false;
  bool writing_ = false;   // the kernel had no room: in_flight_ leaves when it has
  std::string pending_;    // output not yet given to the kernel
  std::string in_flight_;  // output being written
  size_t dropped_bytes_ = 0;
};

}  // namespace tandem
