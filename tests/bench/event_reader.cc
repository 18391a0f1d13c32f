#include "tests/bench/event_reader.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>

namespace tandem::bench {
namespace {

constexpr size_t kLargestHead = 65536;

std::string Lower(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  return lower;
}

// The value of a header in a head in lower case; empty: there is none.
std::string Header(const std::string& head, const std::string& name) {
  const size_t at = head.find("\r\n" + name + ":");
  if (at == std::string::npos) return "";
  size_t from = at + name.size() + 3;
  while (from < head.size() && head[from] == ' ') ++from;
  return head.substr(from, head.find("\r\n", from) - from);
}

}  // namespace

bool EventReader::Feed(std::string_view bytes, double time) {
  if (first_byte_ < 0 && !bytes.empty()) first_byte_ = time;
  pending_ += bytes;
  while (Advance(time)) {
  }
  return state_ != State::kBroken;
}

bool EventReader::ReadHead() {
  const size_t end = pending_.find("\r\n\r\n");
  if (end == std::string::npos) {
    if (pending_.size() > kLargestHead) state_ = State::kBroken;
    return false;
  }
  const std::string head = Lower(pending_.substr(0, end + 2));
  pending_.erase(0, end + 4);
  if (head.rfind("http/1.", 0) != 0 || head.size() < 12) {
    state_ = State::kBroken;
    return false;
  }
  status_ = std::atoi(head.c_str() + 9);
  is_events_ = Header(head, "content-type").find("text/event-stream") != std::string::npos;
  const std::string length = Header(head, "content-length");
  if (Header(head, "transfer-encoding").find("chunked") != std::string::npos) {
    state_ = State::kChunkSize;
  } else if (!length.empty()) {
    left_ = std::strtoull(length.c_str(), nullptr, 10);
    state_ = left_ == 0 ? State::kComplete : State::kLength;
  } else {
    state_ = State::kUntilClose;
  }
  return true;
}

bool EventReader::TakeLine(std::string& line) {
  const size_t end = pending_.find("\r\n");
  if (end == std::string::npos) return false;
  line = pending_.substr(0, end);
  pending_.erase(0, end + 2);
  return true;
}

void EventReader::TakeBody(size_t limit, double time) {
  const size_t count = std::min(limit, pending_.size());
  Body(std::string_view(pending_).substr(0, count), time);
  pending_.erase(0, count);
  left_ -= std::min(left_, count);
}

bool EventReader::Advance(double time) {
  std::string line;
  switch (state_) {
    case State::kHead:
      return ReadHead();
    case State::kChunkSize:
      if (!TakeLine(line)) return false;
      left_ = std::strtoull(line.c_str(), nullptr, 16);
      // Trailers are not read: nothing follows on this connection.
      state_ = left_ == 0 ? State::kComplete : State::kChunk;
      return true;
    case State::kChunkEnd:
      if (!TakeLine(line)) return false;
      state_ = State::kChunkSize;
      return true;
    case State::kChunk:
    case State::kLength:
      if (pending_.empty()) return false;
      TakeBody(left_, time);
      if (left_ == 0) state_ = state_ == State::kChunk ? State::kChunkEnd : State::kComplete;
      return true;
    case State::kUntilClose:
      TakeBody(pending_.size(), time);
      return false;
    case State::kComplete:
    case State::kBroken:
      return false;
  }
  return false;
}

void EventReader::Body(std::string_view bytes, double time) {
  if (!is_events_) {
    text_ += bytes;
    return;
  }
  for (const char c : bytes) {
    if (c != '\n') {
      line_ += c;
      continue;
    }
    if (!line_.empty() && line_.back() == '\r') line_.pop_back();
    if (line_.rfind("data:", 0) == 0) {
      events_.push_back({time, line_.substr(line_.size() > 5 && line_[5] == ' ' ? 6 : 5)});
    }
    line_.clear();
  }
}

}  // namespace tandem::bench
