// HttpConnection: what leaves, and how it ends.
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "router/http/http_connection.h"
#include "router/http/response_head.h"

namespace tandem {
namespace {

namespace asio = boost::asio;
using boost::beast::error_code;

constexpr Duration kLingerLimit = std::chrono::seconds(2);
// A larger output buffer is not kept once it is empty.
constexpr size_t kKeptOutputBytes = 4 << 10;

}  // namespace

void HttpConnection::SendWhole(const HttpResponse& response) {
  AppendHead(response, response.body.size());
  if (!head_request_) pending_ += response.body;
  answered_ = true;
  ScheduleFlush();
}

void HttpConnection::SendStreamHead(const HttpResponse& response) {
  AppendHead(response, std::nullopt);
  ScheduleFlush();
}

bool HttpConnection::SendPiece(absl::string_view bytes) {
  if (chunked_) {
    absl::StrAppend(&pending_, absl::Hex(bytes.size()), "\r\n", bytes, "\r\n");
  } else {
    pending_.append(bytes.data(), bytes.size());
  }
  const auto too_much = [this] {
    return pending_.size() + in_flight_.size() > options_.max_unsent_bytes;
  };
  if (!too_much()) {
    ScheduleFlush();
    return true;
  }
  // What was only gathered here says nothing about the client.
  Flush();
  if (too_much()) Close(ClientLoss::kTooSlow);
  return state_ == State::kAnswer;
}

void HttpConnection::SendStreamEnd() {
  if (chunked_) pending_ += "0\r\n\r\n";
  answered_ = true;
  ScheduleFlush();
}

void HttpConnection::AppendHead(const HttpResponse& response,
                                std::optional<size_t> content_length) {
  head_sent_ = true;
  chunked_ = !content_length.has_value() && !http_1_0_;
  if (!content_length.has_value() && http_1_0_) keep_alive_ = false;
  if (draining_ || (input_ended_ && input_.size() == 0)) keep_alive_ = false;
  pending_ += ResponseHead(response, {.content_length = content_length,
                                      .chunked = chunked_,
                                      .keep_alive = keep_alive_,
                                      .http_1_0 = http_1_0_,
                                      .request_id = request_id_});
}

void HttpConnection::ScheduleFlush() {
  if (flush_scheduled_ || writing_ || state_ == State::kClosed) return;
  flush_scheduled_ = true;
  asio::post(executor(), [self = shared_from_this()] {
    self->flush_scheduled_ = false;
    self->Flush();
  });
}

void HttpConnection::Flush() {
  if (writing_ || state_ == State::kClosed) return;
  if (!pending_.empty()) {
    error_code ec;
    const size_t written = socket_.write_some(asio::buffer(pending_), ec);
    if (ec && ec != asio::error::would_block) return Close(ClientLoss::kLeft);
    if (written < pending_.size()) {
      in_flight_.assign(pending_, written);
      pending_.clear();
      return WriteRest();
    }
    pending_.clear();
    if (pending_.capacity() > kKeptOutputBytes) pending_.shrink_to_fit();
  }
  if (answered_ && state_ == State::kAnswer) AnswerComplete();
}

// Waits for room in the kernel, for as long as a client may take.
void HttpConnection::WriteRest() {
  writing_ = true;
  SetLimit(options_.write_limit);
  asio::async_write(socket_, asio::buffer(in_flight_),
                    [self = shared_from_this()](error_code ec, size_t) {
                      self->writing_ = false;
                      self->in_flight_.clear();
                      self->in_flight_.shrink_to_fit();
                      if (self->state_ == State::kClosed) return;
                      if (ec) return self->Close(ClientLoss::kLeft);
                      self->SetLimit(Duration::max());
                      self->Flush();
                    });
}

void HttpConnection::AnswerComplete() {
  on_gone_ = nullptr;
  if (!keep_alive_ || draining_) return Linger();
  AwaitRequest();
}

void HttpConnection::Linger() {
  if (input_ended_) return Close(ClientLoss::kLeft);
  state_ = State::kLinger;
  SetLimit(kLingerLimit);
  error_code ignored;
  socket_.shutdown(Tcp::socket::shutdown_send, ignored);
  input_.clear();
  AwaitInput();
}

// ---- ends ----

void HttpConnection::Drain() {
  draining_ = true;
  if (state_ == State::kHead) Close(ClientLoss::kLeft);
}

void HttpConnection::Close(ClientLoss why) {
  if (state_ == State::kClosed) return;
  state_ = State::kClosed;
  body_room_ = nullptr;
  limit_ = kNever;
  timer_.cancel();
  error_code ignored;
  socket_.shutdown(Tcp::socket::shutdown_both, ignored);
  socket_.close(ignored);
  // Not from here: the handler may be in the middle of a Write.
  if (on_gone_) {
    asio::post(executor(), [gone = std::exchange(on_gone_, nullptr), why] { gone(why); });
  }
  on_closed_(this);
}

void HttpConnection::SetLimit(Duration limit) {
  limit_ = limit == Duration::max() ? kNever : SystemClock().Now() + limit;
  if (limit_ < timer_at_) ArmTimer();
}

void HttpConnection::ArmTimer() {
  timer_at_ = limit_;
  timer_.expires_at(limit_);
  timer_.async_wait([self = shared_from_this()](error_code ec) {
    if (ec) return;  // set anew, or closed
    self->timer_at_ = kNever;
    if (self->limit_ == kNever) return;
    if (SystemClock().Now() < self->limit_) return self->ArmTimer();
    self->Close(self->writing_ ? ClientLoss::kTooSlow : ClientLoss::kLeft);
  });
}

}  // namespace tandem
