#include "common/transfer/local/same_host_first.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"

namespace tandem {
namespace {

// "TDA1", the near address's length in one byte, the near address, the far address. Anything else
// is the address of a far transport that stands alone.
constexpr absl::string_view kMagic = "TDA1";

struct Addresses {
  absl::string_view near;
  absl::string_view far;
};

absl::StatusOr<Addresses> Split(absl::string_view address) {
  const size_t head = kMagic.size() + 1;
  if (address.substr(0, kMagic.size()) != kMagic) return Addresses{"", address};
  if (address.size() < head) return absl::InvalidArgumentError("a transfer address was cut off");
  const auto near = static_cast<uint8_t>(address[kMagic.size()]);
  if (address.size() < head + near) {
    return absl::InvalidArgumentError("a transfer address was cut off");
  }
  return Addresses{address.substr(head, near), address.substr(head + near)};
}

// Names of the two transports' connections: even ones are near, odd ones far.
constexpr uint64_t kFarBit = 1;

}  // namespace

// Renames connections on their way to the caller's sink.
class SameHostFirst::Side final : public TransportSink {
 public:
  Side(SameHostFirst* owner, bool far, TransportSink* sink)
      : owner_(*owner), far_(far), sink_(*sink) {}

  void OnGreeting(ConnId conn, absl::string_view bytes) override {
    sink_.OnGreeting(owner_.NameOf(far_, conn), bytes);
  }
  void OnControl(ConnId conn, absl::string_view bytes) override {
    const ConnId name = owner_.NameOf(far_, conn);
    owner_.attempts_.erase(name);
    sink_.OnControl(name, bytes);
  }
  std::optional<Placement> OnSegmentArriving(ConnId conn, absl::string_view header,
                                             size_t length) override {
    return sink_.OnSegmentArriving(owner_.NameOf(far_, conn), header, length);
  }
  void OnSegmentReceived(ConnId conn, SegmentToken token, bool ok,
                         absl::Span<const uint32_t> piece_crc32c) override {
    sink_.OnSegmentReceived(owner_.NameOf(far_, conn), token, ok, piece_crc32c);
  }
  void OnSegmentSent(ConnId conn, SegmentToken token, bool ok) override {
    sink_.OnSegmentSent(owner_.NameOf(far_, conn), token, ok);
  }
  void OnConnectionDown(ConnId conn, absl::string_view reason) override {
    const ConnId name = owner_.NameOf(far_, conn);
    if (!far_ && owner_.FallBack(name)) return;
    owner_.Forget(name);
    sink_.OnConnectionDown(name, reason);
  }

 private:
  SameHostFirst& owner_;
  const bool far_;
  TransportSink& sink_;
};

SameHostFirst::SameHostFirst(std::unique_ptr<KvTransport> near, std::unique_ptr<KvTransport> far)
    : near_(std::move(near)), far_(std::move(far)), epoll_fd_(epoll_create1(EPOLL_CLOEXEC)) {
  TANDEM_CHECK(epoll_fd_ >= 0);
  for (KvTransport* transport : {near_.get(), far_.get()}) {
    if (transport == nullptr) continue;
    epoll_event event{.events = EPOLLIN, .data = {}};
    TANDEM_CHECK(epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, transport->EventFd(), &event) == 0);
  }
}

SameHostFirst::~SameHostFirst() { close(epoll_fd_); }

void SameHostFirst::ShareMemory(const SharedRegion& region) {
  if (near_ != nullptr) near_->ShareMemory(region);
  far_->ShareMemory(region);
}

std::string SameHostFirst::LocalAddress() const {
  const std::string near = near_ == nullptr ? "" : near_->LocalAddress();
  TANDEM_CHECK(near.size() <= UINT8_MAX);
  return absl::StrCat(kMagic, std::string(1, static_cast<char>(near.size())), near,
                      far_->LocalAddress());
}

SameHostFirst::Place SameHostFirst::Find(ConnId conn) const {
  if (const auto it = fallen_back_.find(conn); it != fallen_back_.end()) {
    return {far_.get(), it->second};
  }
  const bool far = (conn.value() & kFarBit) != 0;
  return {far ? far_.get() : near_.get(), ConnId(conn.value() / 2)};
}

ConnId SameHostFirst::NameOf(bool far, ConnId conn) const {
  if (far) {
    const auto it = fallen_back_name_.find(conn);
    if (it != fallen_back_name_.end()) return it->second;
  }
  return ConnId(conn.value() * 2 + (far ? kFarBit : 0));
}

absl::StatusOr<ConnId> SameHostFirst::Connect(absl::string_view peer_address,
                                              absl::string_view greeting) {
  ASSIGN_OR_RETURN(const Addresses addresses, Split(peer_address));
  if (near_ != nullptr && !addresses.near.empty()) {
    if (const absl::StatusOr<ConnId> near = near_->Connect(addresses.near, greeting); near.ok()) {
      const ConnId name = NameOf(/*far=*/false, *near);
      attempts_[name] = {std::string(addresses.far), std::string(greeting)};
      return name;
    }
  }
  ASSIGN_OR_RETURN(const ConnId far, far_->Connect(addresses.far, greeting));
  return NameOf(/*far=*/true, far);
}

bool SameHostFirst::FallBack(ConnId name) {
  const auto node = attempts_.extract(name);
  if (node.empty()) return false;
  const absl::StatusOr<ConnId> far =
      far_->Connect(node.mapped().far_address, node.mapped().greeting);
  if (!far.ok()) return false;
  fallen_back_[name] = *far;
  fallen_back_name_[*far] = name;
  return true;
}

absl::Status SameHostFirst::Accept(ConnId conn, absl::string_view reply_address) {
  ASSIGN_OR_RETURN(const Addresses addresses, Split(reply_address));
  const Place place = Find(conn);
  const bool far = place.transport == far_.get();
  return place.transport->Accept(place.conn, far ? addresses.far : addresses.near);
}

absl::Status SameHostFirst::SendControl(ConnId conn, absl::string_view bytes) {
  const Place place = Find(conn);
  return place.transport->SendControl(place.conn, bytes);
}

absl::Status SameHostFirst::SendSegment(ConnId conn, absl::string_view header,
                                        absl::Span<const std::byte> payload, SegmentToken token) {
  const Place place = Find(conn);
  return place.transport->SendSegment(place.conn, header, payload, token);
}

void SameHostFirst::Close(ConnId conn) {
  const Place place = Find(conn);
  Forget(conn);
  place.transport->Close(place.conn);
}

void SameHostFirst::Forget(ConnId name) {
  attempts_.erase(name);
  const auto node = fallen_back_.extract(name);
  if (!node.empty()) fallen_back_name_.erase(node.mapped());
}

bool SameHostFirst::Poll(TransportSink* sink) {
  Side near(this, /*far=*/false, sink);
  Side far(this, /*far=*/true, sink);
  const bool moved = near_ != nullptr && near_->Poll(&near);
  return far_->Poll(&far) || moved;
}

bool SameHostFirst::Arm() { return (near_ == nullptr || near_->Arm()) && far_->Arm(); }

std::string SameHostFirst::Describe() const {
  if (near_ == nullptr) return far_->Describe();
  return absl::StrCat(near_->Describe(), " on one host, else ", far_->Describe());
}

std::string SameHostFirst::DescribeLanes(ConnId conn) const {
  const Place place = Find(conn);
  return place.transport->DescribeLanes(place.conn);
}

}  // namespace tandem
