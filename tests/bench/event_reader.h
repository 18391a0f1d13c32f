// Reads one HTTP/1.1 response whose body is a stream of server-sent events and notes when each
// arrived. Event data are kept as they came and are not parsed: that can wait until the measurement
// is over. A body of another type is kept as text. Thread-compatible.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tandem::bench {

struct TimedEvent {
  double time;       // as handed to Feed with the bytes that completed the event
  std::string data;  // of the event's data line
};

class EventReader {
 public:
  // Takes the next bytes of the connection, which came at `time`. False: they are not HTTP.
  bool Feed(std::string_view bytes, double time);

  // The response is complete. One without a length and not chunked ends with its connection.
  bool complete() const { return state_ == State::kComplete; }
  int status() const { return status_; }             // 0: no head yet
  double first_byte() const { return first_byte_; }  // negative: none yet
  const std::vector<TimedEvent>& events() const { return events_; }
  const std::string& text() const { return text_; }  // of a body that is no event stream

 private:
  enum class State {
    kHead,
    kLength,
    kChunkSize,
    kChunk,
    kChunkEnd,
    kUntilClose,
    kComplete,
    kBroken
  };

  bool ReadHead();
  // Reads what `pending_` holds for the present state; false: more bytes are wanted.
  bool Advance(double time);
  bool TakeLine(std::string& line);
  void TakeBody(size_t limit, double time);
  void Body(std::string_view bytes, double time);

  State state_ = State::kHead;
  std::string pending_;  // received and not yet read
  size_t left_ = 0;      // of the chunk or the body
  int status_ = 0;
  bool is_events_ = false;
  double first_byte_ = -1;
  std::string line_;  // of the event stream, not yet ended
  std::string text_;
  std::vector<TimedEvent> events_;
};

}  // namespace tandem::bench
