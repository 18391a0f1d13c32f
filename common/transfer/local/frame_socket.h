// FrameSocket sends and receives whole frames over a connected stream socket that never blocks.
//
// A frame is a kind, chosen by the caller, and its bytes. Frames that the kernel does not take at
// once wait here in order; who bounds them asks unsent_bytes(). Owned and called by one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace tandem {

struct Frame {
  uint8_t kind = 0;
  std::string bytes;
};

class FrameSocket {
 public:
  // Takes over `fd`, a non-blocking stream socket. A frame that claims more than `max_frame_bytes`
  // ends the stream.
  FrameSocket(int fd, size_t max_frame_bytes);
  ~FrameSocket();
  FrameSocket(const FrameSocket&) = delete;
  FrameSocket& operator=(const FrameSocket&) = delete;

  int fd() const { return fd_; }
  size_t unsent_bytes() const { return unsent_bytes_; }

  void Send(uint8_t kind, absl::string_view bytes);
  // Sends what waits, as far as the kernel takes it. UNAVAILABLE: the stream is broken.
  absl::Status Flush();

  // Appends the frames that have arrived, a bounded number of bytes of them. UNAVAILABLE: the
  // stream has ended; frames that came before its end are appended all the same.
  absl::Status Receive(std::vector<Frame>* frames);

 private:
  absl::Status TakeFrames(std::vector<Frame>* frames);

  const int fd_;
  const size_t max_frame_bytes_;
  std::deque<std::string> unsent_;
  size_t sent_of_first_ = 0;
  size_t unsent_bytes_ = 0;
  std::string received_;  // not yet a whole frame
};

}  // namespace tandem
