// One connection of the HTTP server. Includes Beast: for the .cc files of this folder only.
//
// States, all on the strand:
//   kHead    waiting for a request's header (idle between requests)
//   kBody    receiving its body
//   kAnswer  the handler has the request; a read stays pending so that a client that leaves is seen
//   kLinger  the answer said "close": what still comes in is read and dropped, so that the client
//            gets the answer before a reset
//   kClosed
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
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
using Strand = boost::asio::strand<boost::asio::io_context::executor_type>;
using StrandSocket = boost::asio::basic_stream_socket<Tcp, Strand>;

class HttpConnection : public std::enable_shared_from_this<HttpConnection> {
 public:
  // `on_closed` is called once, on the strand, with this object.
  HttpConnection(StrandSocket socket, const HttpServerOptions& options, const HttpHandler& handler,
                 BodyBudget* bodies, std::function<void(HttpConnection*)> on_closed)
      : options_(options),
        handler_(handler),
        bodies_(bodies),
        on_closed_(std::move(on_closed)),
        socket_(std::move(socket)),
        timer_(socket_.get_executor()) {}

  void Start() { ReadHead(); }
  // No request after the current one; an idle connection closes. On the strand.
  void Drain();
  // Ends the connection at once; a handler that waits is told through OnGone.
  void Close();
  Strand strand() { return socket_.get_executor(); }

 private:
  friend class ConnectionWriter;  // the ResponseWriter of the request in progress
  enum class State { kHead, kBody, kAnswer, kLinger, kClosed };
  using Parser = boost::beast::http::request_parser<boost::beast::http::string_body>;

  void ReadHead();
  void OnHead(boost::beast::error_code ec);
  void ReadBody();
  void OnBody(boost::beast::error_code ec);
  void RefuseUnreadable(boost::beast::error_code ec);
  void Refuse(int status, const std::string& reason);
  void WatchClient();
  void OnWatched(boost::beast::error_code ec);
  void Dispatch();

  void SendHead(const HttpResponse& response, std::optional<size_t> content_length);
  void Send(std::string bytes);
  void FlushPending();
  void OnWritten(boost::beast::error_code ec);
  void AnswerComplete();
  void Linger();
  void DropInput();

  void SetTimer(Duration limit);

  const HttpServerOptions& options_;
  const HttpHandler& handler_;
  BodyBudget* const bodies_;
  std::function<void(HttpConnection*)> on_closed_;
  StrandSocket socket_;
  boost::asio::steady_timer timer_;
  uint64_t timer_generation_ = 0;
  boost::beast::flat_buffer input_;
  std::optional<Parser> parser_;
  State state_ = State::kHead;

  // Of the request in progress.
  uint64_t answer_ = 0;  // counts requests, so that a late writer cannot answer the next one
  bool head_request_ = false;
  bool http_1_0_ = false;
  bool keep_alive_ = false;
  bool chunked_ = false;
  bool head_sent_ = false;
  bool answered_ = false;  // everything was handed to Send
  std::string request_id_;
  std::shared_ptr<BodyRoom> body_room_;  // while its body is received
  std::function<void()> on_gone_;

  bool draining_ = false;
  bool watching_ = false;
  bool writing_ = false;
  std::string pending_;    // output not yet given to the kernel
  std::string in_flight_;  // output being written
  size_t dropped_bytes_ = 0;
};

}  // namespace tandem
