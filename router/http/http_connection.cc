#include "router/http/http_connection.h"

#include <boost/asio/post.hpp>
#include <utility>

#include "router/http/connection_writer.h"
#include "router/http/response_head.h"

namespace tandem {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::beast::error_code;

constexpr size_t kMaxDroppedBytes = 16 << 20;
// What a client may send ahead while it waits for an answer. Beyond it the connection is no longer
// read, so a client that leaves is noticed only when a write fails.
constexpr size_t kMaxReadAhead = 64 << 10;
constexpr size_t kReadBytes = 4 << 10;       // of one read
constexpr size_t kBodyReadBytes = 64 << 10;  // the same for a long body

absl::string_view View(boost::beast::string_view s) { return {s.data(), s.size()}; }

}  // namespace

void HttpConnection::Start() {
  error_code ignored;
  socket_.non_blocking(true, ignored);
  AwaitRequest();
}

void HttpConnection::AwaitRequest() {
  state_ = State::kHead;
  if (draining_ || (input_ended_ && input_.size() == 0)) return Close(ClientLoss::kLeft);
  parser_.emplace();
  parser_->header_limit(static_cast<uint32_t>(options_.max_header_bytes));
  parser_->body_limit(options_.max_body_bytes);
  SetLimit(options_.idle_limit);
  if (input_.size() > 0) return Parse();
  ReleaseInput();
  AwaitInput();
}

void HttpConnection::AwaitInput() {
  if (waiting_ || state_ == State::kClosed) return;
  if (input_ended_) {
    if (state_ != State::kAnswer) Close(ClientLoss::kLeft);
    return;
  }
  if (state_ == State::kAnswer && input_.size() >= kMaxReadAhead) return;
  waiting_ = true;
  socket_.async_wait(Tcp::socket::wait_read, [self = shared_from_this()](error_code ec) {
    self->waiting_ = false;
    if (self->state_ == State::kClosed) return;
    if (ec) return self->Close(ClientLoss::kLeft);
    self->OnReadable();
  });
}

// Most connections wait, for a request or for their tokens, and need no buffer meanwhile.
void HttpConnection::ReleaseInput() {
  if (input_.size() == 0) input_.shrink_to_fit();
}

void HttpConnection::OnReadable() {
  const bool long_body =
      state_ == State::kBody && parser_->content_length_remaining().value_or(0) > kReadBytes;
  error_code ec;
  const size_t size =
      socket_.read_some(input_.prepare(long_body ? kBodyReadBytes : kReadBytes), ec);
  if (ec == asio::error::would_block) return AwaitInput();
  if (ec) return OnInputEnd(ec);
  input_.commit(size);
  if (state_ == State::kHead || state_ == State::kBody) return Parse();
  if (state_ == State::kLinger) {
    input_.clear();
    dropped_bytes_ += size;
    if (dropped_bytes_ > kMaxDroppedBytes) return Close(ClientLoss::kLeft);
  }
  AwaitInput();
}

void HttpConnection::OnInputEnd(error_code ec) {
  // Without a whole request there is nothing to answer.
  if (ec != asio::error::eof || state_ != State::kAnswer) return Close(ClientLoss::kLeft);
  input_ended_ = true;
  ProbeClient();
}

// See the head of this file. An older client cannot be asked, so it is taken to wait.
void HttpConnection::ProbeClient() {
  socket_.async_wait(Tcp::socket::wait_error, [self = shared_from_this()](error_code ec) {
    if (!ec) self->Close(ClientLoss::kLeft);
  });
  if (!head_sent_ && !http_1_0_) {
    pending_ += "HTTP/1.1 100 Continue\r\n\r\n";
  } else if (chunked_ && !answered_) {
    pending_ += "3\r\n:\n\n\r\n";  // a comment, for streams are server-sent events
  }
  ScheduleFlush();
}

// Takes what is in the input as far as it goes.
void HttpConnection::Parse() {
  error_code ec;
  if (state_ == State::kHead) {
    if (!ParseMore(&ec) || !parser_->is_header_done()) {
      if (ec) {
        ++answer_;
        answered_ = head_sent_ = chunked_ = false;
        http_1_0_ = false;
        head_request_ = false;
        request_id_ = ChooseRequestId(View(parser_->get()["X-Request-Id"]));
        return RefuseUnreadable(ec);
      }
      return AwaitInput();
    }
    OnHead();
    if (state_ != State::kBody) return;
    parser_->eager(true);
  }
  if (!parser_->is_done() && !ParseMore(&ec) && ec) return RefuseUnreadable(ec);
  if (parser_->is_done()) return Dispatch();
  AwaitInput();
}

// Feeds the parser. False: it wants more input, or what it has is wrong (`ec`).
bool HttpConnection::ParseMore(error_code* ec) {
  while (input_.size() > 0) {
    const size_t taken = parser_->put(input_.cdata(), *ec);
    input_.consume(taken);
    if (*ec == http::error::need_more) {
      *ec = {};
      if (taken == 0) return false;
      continue;
    }
    if (*ec) return false;
    if (parser_->is_done() || (state_ == State::kHead && parser_->is_header_done())) return true;
    if (taken == 0) return false;
  }
  return false;
}

void HttpConnection::OnHead() {
  ++answer_;
  answered_ = head_sent_ = chunked_ = false;
  const auto& request = parser_->get();
  head_request_ = request.method() == http::verb::head;
  http_1_0_ = request.version() < 11;
  keep_alive_ = request.keep_alive() && !draining_;
  request_id_ = ChooseRequestId(View(request["X-Request-Id"]));
  for (auto [it, end] = request.equal_range(http::field::transfer_encoding); it != end; ++it) {
    if (!boost::beast::iequals(it->value(), "chunked")) {
      return Refuse(501, "the only transfer coding taken is chunked");
    }
  }
  // A body of unknown length may become the longest.
  body_room_ = bodies_->Reserve(parser_->chunked() ? options_.max_body_bytes
                                                   : parser_->content_length().value_or(0));
  if (body_room_ == nullptr) return Refuse(503, "too many request bodies are held already");
  state_ = State::kBody;
  SetLimit(options_.body_limit);
  if (boost::beast::iequals(request[http::field::expect], "100-continue") && !http_1_0_) {
    pending_ += "HTTP/1.1 100 Continue\r\n\r\n";
    ScheduleFlush();
  }
}

// The request cannot be read to its end: says why, if the client can still hear it, and closes.
void HttpConnection::RefuseUnreadable(error_code ec) {
  int status = 400;
  if (ec == http::error::body_limit) {
    status = 413;
  } else if (ec == http::error::header_limit || ec == http::error::buffer_overflow) {
    status = 431;
  }
  Refuse(status, ec.message());
}

void HttpConnection::Refuse(int status, const std::string& reason) {
  state_ = State::kAnswer;
  keep_alive_ = false;
  body_room_ = nullptr;
  HttpResponse response{
      status, "application/json", {}, options_.refusal_body(status, reason, request_id_)};
  if (status == 503) response.headers = {{"Retry-After", "1"}};
  SendWhole(response);
}

void HttpConnection::Dispatch() {
  state_ = State::kAnswer;
  SetLimit(Duration::max());
  auto request = parser_->release();
  parser_.reset();
  body_room_->ShrinkTo(request.body().size());
  const absl::string_view target = View(request.target());
  HttpRequest out{std::string(View(request.method_string())),
                  std::string(target.substr(0, target.find('?'))), request_id_,
                  std::move(request.body()), std::move(body_room_)};
  auto writer =
      std::make_shared<ConnectionWriter>(weak_from_this(), answer_, executor(), io_thread_);
  ReleaseInput();
  handler_(std::move(out), std::move(writer));
  AwaitInput();
}

}  // namespace tandem
