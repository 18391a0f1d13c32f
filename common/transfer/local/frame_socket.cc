#include "common/transfer/local/frame_socket.h"

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace tandem {
namespace {

constexpr size_t kReadBytes = size_t{64} << 10;

struct FrameHead {
  uint32_t length;  // of the bytes after the head
  uint8_t kind;
};
constexpr size_t kHeadBytes = sizeof(uint32_t) + sizeof(uint8_t);

FrameHead ReadHead(const char* bytes) {
  FrameHead head{};
  std::memcpy(&head.length, bytes, sizeof(head.length));
  head.kind = static_cast<uint8_t>(bytes[sizeof(head.length)]);
  return head;
}

absl::Status Broken(absl::string_view what) {
  return absl::UnavailableError(absl::StrCat(what, ": ", std::strerror(errno)));
}

bool WouldBlock() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

}  // namespace

FrameSocket::FrameSocket(int fd, size_t max_frame_bytes)
    : fd_(fd), max_frame_bytes_(max_frame_bytes) {}

FrameSocket::~FrameSocket() { close(fd_); }

void FrameSocket::Send(uint8_t kind, absl::string_view bytes) {
  const auto length = static_cast<uint32_t>(bytes.size());
  std::string frame(reinterpret_cast<const char*>(&length), sizeof(length));
  frame.push_back(static_cast<char>(kind));
  frame.append(bytes.data(), bytes.size());
  unsent_bytes_ += frame.size();
  unsent_.push_back(std::move(frame));
}

absl::Status FrameSocket::Flush() {
  while (!unsent_.empty()) {
    const absl::string_view rest = absl::string_view(unsent_.front()).substr(sent_of_first_);
    const ssize_t sent = send(fd_, rest.data(), rest.size(), MSG_NOSIGNAL);
    if (sent < 0) return WouldBlock() ? absl::OkStatus() : Broken("sending");
    sent_of_first_ += sent;
    unsent_bytes_ -= sent;
    if (sent_of_first_ < unsent_.front().size()) continue;
    unsent_.pop_front();
    sent_of_first_ = 0;
  }
  return absl::OkStatus();
}

absl::Status FrameSocket::Receive(std::vector<Frame>* frames) {
  std::array<char, kReadBytes> buffer;
  const ssize_t got = recv(fd_, buffer.data(), buffer.size(), 0);
  if (got == 0) return absl::UnavailableError("closed by the peer");
  if (got < 0) return WouldBlock() ? absl::OkStatus() : Broken("receiving");
  received_.append(buffer.data(), got);
  return TakeFrames(frames);
}

absl::Status FrameSocket::TakeFrames(std::vector<Frame>* frames) {
  size_t taken = 0;
  absl::Status status;
  while (received_.size() - taken >= kHeadBytes) {
    const FrameHead head = ReadHead(received_.data() + taken);
    if (head.length > max_frame_bytes_) {
      status = absl::UnavailableError(
          absl::StrCat("a frame of ", head.length, " bytes, more than any message has"));
      break;
    }
    if (received_.size() - taken < kHeadBytes + head.length) break;
    frames->push_back({head.kind, received_.substr(taken + kHeadBytes, head.length)});
    taken += kHeadBytes + head.length;
  }
  received_.erase(0, taken);
  return status;
}

}  // namespace tandem
