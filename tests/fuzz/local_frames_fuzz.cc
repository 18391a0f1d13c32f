// Gives bytes to a LocalTransport over its socket. Whatever they are, the transport lives, memory
// is written only where a segment was placed, and every segment that was placed ends once.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

#include "common/base/check.h"
#include "common/base/shareable_memory.h"
#include "common/transfer/local/local_transport.h"

namespace {

using tandem::ConnId;
using tandem::SegmentToken;

class PlacesSmallSegments final : public tandem::TransportSink {
 public:
  void OnGreeting(ConnId conn, absl::string_view) override { greeted_ = conn; }
  void OnControl(ConnId, absl::string_view) override {}
  std::optional<tandem::Placement> OnSegmentArriving(ConnId, absl::string_view,
                                                     size_t length) override {
    if (length == 0 || length > memory_.size()) return std::nullopt;
    const SegmentToken token(++last_token_);
    open_.insert(token);
    return tandem::Placement{absl::MakeSpan(memory_.data(), length), token, kPieceBytes};
  }
  void OnSegmentReceived(ConnId, SegmentToken token, bool, absl::Span<const uint32_t>) override {
    TANDEM_CHECK(open_.erase(token) == 1);
  }
  void OnSegmentSent(ConnId, SegmentToken, bool) override { TANDEM_CHECK(false); }
  void OnConnectionDown(ConnId, absl::string_view) override {}

  ConnId greeted() const { return greeted_; }
  bool all_ended() const { return open_.empty(); }

 private:
  static constexpr size_t kPieceBytes = 96;  // segments need not be a multiple
  std::vector<std::byte> memory_ = std::vector<std::byte>(4096);
  std::set<SegmentToken> open_;
  uint64_t last_token_ = 0;
  ConnId greeted_;
};

int ConnectTo(const std::string& name) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path + 1, name.data(), name.size());
  const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  TANDEM_CHECK(connect(fd, reinterpret_cast<sockaddr*>(&address), length) == 0);
  return fd;
}

// What a greeting may claim as the peer's memory: this process is its own peer.
void ShareSomeMemory() {
  constexpr int kClaimed = 100;
  static const std::unique_ptr<tandem::ShareableMemory> memory =
      *tandem::ShareableMemory::Create(65536);
  if (memory->region().fd >= 0) TANDEM_CHECK(dup2(memory->region().fd, kClaimed) == kClaimed);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static std::once_flag shared;
  std::call_once(shared, ShareSomeMemory);
  static const std::unique_ptr<tandem::LocalTransport> transport =
      *tandem::LocalTransport::Create();
  PlacesSmallSegments sink;
  const int fd = ConnectTo(transport->LocalAddress());
  (void)send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
  while (transport->Poll(&sink)) {
  }
  close(fd);
  while (transport->Poll(&sink)) {
  }
  if (sink.greeted() != ConnId()) transport->Close(sink.greeted());
  while (transport->Poll(&sink)) {
  }
  TANDEM_CHECK(sink.all_ended());
  return 0;
}
