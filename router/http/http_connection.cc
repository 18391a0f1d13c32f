#include "router/http/http_connection.h"

#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/read.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "router/http/response_head.h"

namespace tandem {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::beast::error_code;

constexpr Duration kLingerLimit = std::chrono::seconds(2);
constexpr size_t kMaxDroppedBytes = 16 << 20;
// What a client may send ahead while it waits for an answer. Beyond it the connection is no longer
// read, so a client that leaves is noticed only when a write fails.
constexpr size_t kMaxReadAhead = 64 << 10;

absl::string_view View(boost::beast::string_view s) { return {s.data(), s.size()}; }

}  // namespace

// Refers to its connection weakly: a handler may keep it longer than the connection lives.
class ConnectionWriter : public ResponseWriter {
 public:
  ConnectionWriter(std::weak_ptr<HttpConnection> connection, uint64_t answer, Strand strand)
      : connection_(std::move(connection)), answer_(answer), strand_(std::move(strand)) {}

  ~ConnectionWriter() override {
    if (answered_ || connection_.expired()) return;
    asio::post(strand_, [weak = connection_, answer = answer_] {
      auto connection = weak.lock();
      if (connection != nullptr && connection->answer_ == answer && !connection->answered_) {
        connection->Close();
      }
    });
  }

  void Post(std::function<void()> work) override { asio::post(strand_, std::move(work)); }

  void OnGone(std::function<void()> callback) override {
    if (auto c = Current()) {
      c->on_gone_ = std::move(callback);
    } else {
      asio::post(strand_, std::move(callback));
    }
  }

  void Respond(HttpResponse response) override {
    answered_ = true;
    auto c = Current();
    if (c == nullptr) return;
    c->SendHead(response, response.body.size());
    c->answered_ = true;
    if (!c->head_request_) c->pending_ += response.body;
    c->on_gone_ = nullptr;
    c->FlushPending();
  }

  void StartStream(HttpResponse response) override {
    if (auto c = Current()) c->SendHead(response, std::nullopt);
  }

  void Write(std::string bytes) override {
    auto c = Current();
    if (c == nullptr || bytes.empty()) return;
    if (c->chunked_) {
      c->Send(absl::StrCat(absl::Hex(bytes.size()), "\r\n", bytes, "\r\n"));
    } else {
      c->Send(std::move(bytes));
    }
  }

  void EndStream() override {
    answered_ = true;
    auto c = Current();
    if (c == nullptr) return;
    c->answered_ = true;
    c->on_gone_ = nullptr;
    if (c->chunked_) c->pending_ += "0\r\n\r\n";
    c->FlushPending();
  }

 private:
  // The connection while it still waits for this answer.
  std::shared_ptr<HttpConnection> Current() const {
    auto c = connection_.lock();
    if (c == nullptr || c->answer_ != answer_ || c->answered_) return nullptr;
    return c->state_ == HttpConnection::State::kAnswer ? c : nullptr;
  }

  const std::weak_ptr<HttpConnection> connection_;
  const uint64_t answer_;
  const Strand strand_;
  bool answered_ = false;
};

// ---- requests ----

void HttpConnection::ReadHead() {
  state_ = State::kHead;
  if (draining_) return Close();
  parser_.emplace();
  parser_->header_limit(static_cast<uint32_t>(options_.max_header_bytes));
  parser_->body_limit(options_.max_body_bytes);
  SetTimer(options_.idle_limit);
  http::async_read_header(socket_, input_, *parser_,
                          [self = shared_from_this()](error_code ec, size_t) { self->OnHead(ec); });
}

void HttpConnection::OnHead(error_code ec) {
  if (state_ != State::kHead) return;
  if (ec == http::error::end_of_stream || ec == asio::error::connection_reset) return Close();
  ++answer_;
  answered_ = head_sent_ = chunked_ = false;
  const auto& request = parser_->get();
  head_request_ = request.method() == http::verb::head;
  http_1_0_ = request.version() < 11;
  keep_alive_ = request.keep_alive() && !draining_;
  request_id_ = ChooseRequestId(View(request["X-Request-Id"]));
  if (ec) return RefuseUnreadable(ec);
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
  SetTimer(options_.body_limit);
  if (boost::beast::iequals(request[http::field::expect], "100-continue") && !http_1_0_) {
    in_flight_ = "HTTP/1.1 100 Continue\r\n\r\n";
    asio::async_write(socket_, asio::buffer(in_flight_),
                      [self = shared_from_this()](error_code write_ec, size_t) {
                        if (write_ec) return self->Close();
                        self->ReadBody();
                      });
    return;
  }
  ReadBody();
}

void HttpConnection::ReadBody() {
  if (state_ != State::kBody) return;
  http::async_read(socket_, input_, *parser_,
                   [self = shared_from_this()](error_code ec, size_t) { self->OnBody(ec); });
}

void HttpConnection::OnBody(error_code ec) {
  if (state_ != State::kBody) return;
  if (ec) return RefuseUnreadable(ec);
  Dispatch();
}

// The request cannot be read to its end: says why, if the client can still hear it, and closes.
void HttpConnection::RefuseUnreadable(error_code ec) {
  int status = 400;
  if (ec == http::error::body_limit) {
    status = 413;
  } else if (ec == http::error::header_limit || ec == http::error::buffer_overflow) {
    status = 431;
  } else if (ec.category() != http::make_error_code(http::error::bad_value).category() ||
             ec == http::error::partial_message) {
    return Close();  // the network's doing
  }
  Refuse(status, ec.message());
}

void HttpConnection::Refuse(int status, const std::string& reason) {
  state_ = State::kAnswer;
  keep_alive_ = false;
  body_room_ = nullptr;
  HttpResponse response{status, "application/json", {}, options_.refusal_body(status, reason)};
  if (status == 503) response.headers = {{"Retry-After", "1"}};
  SendHead(response, response.body.size());
  pending_ += response.body;
  answered_ = true;
  FlushPending();
}

void HttpConnection::Dispatch() {
  state_ = State::kAnswer;
  SetTimer(Duration::max());
  auto request = parser_->release();
  parser_.reset();
  body_room_->ShrinkTo(request.body().size());
  const absl::string_view target = View(request.target());
  HttpRequest out{std::string(View(request.method_string())),
                  std::string(target.substr(0, target.find('?'))), request_id_,
                  std::move(request.body()), std::move(body_room_)};
  auto writer = std::make_shared<ConnectionWriter>(weak_from_this(), answer_, strand());
  WatchClient();
  handler_(std::move(out), std::move(writer));
}

// Keeps a read pending while the handler works. What arrives is the next request, sent ahead.
void HttpConnection::WatchClient() {
  if (watching_ || input_.size() >= kMaxReadAhead) return;
  watching_ = true;
  socket_.async_read_some(input_.prepare(4096),
                          [self = shared_from_this()](error_code ec, size_t size) {
                            self->watching_ = false;
                            self->input_.commit(size);
                            self->OnWatched(ec);
                          });
}

void HttpConnection::OnWatched(error_code ec) {
  if (state_ == State::kClosed) return;
  // The answer was complete before this read: it is the next request's. Aborted: by AnswerComplete.
  if (state_ == State::kHead && (!ec || ec == asio::error::operation_aborted)) return ReadHead();
  if (ec) return Close();
  if (state_ == State::kLinger) return DropInput();
  WatchClient();
}

// ---- answers ----

void HttpConnection::SendHead(const HttpResponse& response, std::optional<size_t> content_length) {
  head_sent_ = true;
  chunked_ = !content_length.has_value() && !http_1_0_;
  if (!content_length.has_value() && http_1_0_) keep_alive_ = false;
  if (draining_) keep_alive_ = false;
  pending_ += ResponseHead(response, {.content_length = content_length,
                                      .chunked = chunked_,
                                      .keep_alive = keep_alive_,
                                      .http_1_0 = http_1_0_,
                                      .request_id = request_id_});
}

void HttpConnection::Send(std::string bytes) {
  if (pending_.size() + in_flight_.size() + bytes.size() > options_.max_unsent_bytes)
    return Close();
  pending_ += bytes;
  FlushPending();
}

void HttpConnection::FlushPending() {
  if (writing_ || state_ == State::kClosed) return;
  if (pending_.empty()) {
    if (answered_) AnswerComplete();
    return;
  }
  writing_ = true;
  in_flight_.swap(pending_);
  pending_.clear();
  SetTimer(options_.write_limit);
  asio::async_write(socket_, asio::buffer(in_flight_),
                    [self = shared_from_this()](error_code ec, size_t) { self->OnWritten(ec); });
}

void HttpConnection::OnWritten(error_code ec) {
  writing_ = false;
  in_flight_.clear();
  if (state_ == State::kClosed) return;
  if (ec) return Close();
  SetTimer(Duration::max());
  FlushPending();
}

void HttpConnection::AnswerComplete() {
  if (!keep_alive_ || draining_) return Linger();
  state_ = State::kHead;
  if (!watching_) return ReadHead();
  // A read is still pending. It brings the start of the next request, unless that is here already.
  SetTimer(options_.idle_limit);
  error_code ignored;
  if (input_.size() > 0) socket_.cancel(ignored);
}

void HttpConnection::Linger() {
  state_ = State::kLinger;
  SetTimer(kLingerLimit);
  error_code ignored;
  socket_.shutdown(Tcp::socket::shutdown_send, ignored);
  if (!watching_) DropInput();
}

void HttpConnection::DropInput() {
  input_.clear();
  socket_.async_read_some(input_.prepare(16 << 10),
                          [self = shared_from_this()](error_code ec, size_t size) {
                            self->dropped_bytes_ += size;
                            if (ec || self->dropped_bytes_ > kMaxDroppedBytes) return self->Close();
                            self->DropInput();
                          });
}

// ---- ends ----

void HttpConnection::Drain() {
  draining_ = true;
  if (state_ == State::kHead) Close();
}

void HttpConnection::Close() {
  if (state_ == State::kClosed) return;
  state_ = State::kClosed;
  body_room_ = nullptr;
  ++timer_generation_;
  timer_.cancel();
  error_code ignored;
  socket_.shutdown(Tcp::socket::shutdown_both, ignored);
  socket_.close(ignored);
  // Not from here: the handler may be in the middle of a Write.
  if (on_gone_) asio::post(strand(), std::exchange(on_gone_, nullptr));
  on_closed_(this);
}

void HttpConnection::SetTimer(Duration limit) {
  const uint64_t generation = ++timer_generation_;
  if (limit == Duration::max()) {
    timer_.cancel();
    return;
  }
  timer_.expires_after(limit);
  timer_.async_wait([self = shared_from_this(), generation](error_code ec) {
    if (!ec && generation == self->timer_generation_) self->Close();
  });
}

}  // namespace tandem
