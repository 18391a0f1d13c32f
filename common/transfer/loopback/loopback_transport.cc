#include "common/transfer/loopback/loopback_transport.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/check.h"

namespace tandem {
namespace {

constexpr absl::string_view kScheme = "loopback:";

}  // namespace

void LoopbackHub::Deliver(uint64_t port, Delivery delivery) {
  const auto it = ports_.find(port);
  if (it == ports_.end()) return;
  it->second.inbox.push_back(std::move(delivery));
  const uint64_t one = 1;
  TANDEM_CHECK(write(it->second.event_fd, &one, sizeof(one)) == sizeof(one));
}

void LoopbackHub::FinishTransfer(uint64_t id, bool ok) {
  const auto node = transfers_.extract(id);
  if (node.empty()) return;
  const Transfer& transfer = node.mapped();
  Delivery sent{Delivery::Kind::kSent, transfer.sender, {}, 0, transfer.token, ok};
  Deliver(transfer.sender_port, std::move(sent));
}

void LoopbackHub::RemoveEnd(ConnId conn, const std::string& reason) {
  const auto node = ends_.extract(conn);
  if (node.empty()) return;
  std::vector<uint64_t> cut_off;
  for (const auto& [id, transfer] : transfers_) {
    if (transfer.sender == conn || transfer.receiver == conn) cut_off.push_back(id);
  }
  for (const uint64_t id : cut_off) FinishTransfer(id, false);
  const auto other = ends_.find(node.mapped().other);
  if (other == ends_.end()) return;
  Deliver(other->second.port, Delivery{Delivery::Kind::kDown, other->first, reason, 0, {}, true});
}

LoopbackTransport::LoopbackTransport(std::shared_ptr<LoopbackHub> hub)
    : hub_(std::move(hub)), event_fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  TANDEM_CHECK(event_fd_ >= 0);
  MutexLock lock(&hub_->mutex_);
  port_ = ++hub_->last_id_;
  hub_->ports_[port_].event_fd = event_fd_;
}

LoopbackTransport::~LoopbackTransport() {
  {
    MutexLock lock(&hub_->mutex_);
    hub_->ports_.erase(port_);
    std::vector<ConnId> mine;
    for (const auto& [conn, end] : hub_->ends_) {
      if (end.port == port_) mine.push_back(conn);
    }
    for (const ConnId conn : mine) hub_->RemoveEnd(conn, "the peer is gone");
  }
  close(event_fd_);
}

std::string LoopbackTransport::LocalAddress() const { return absl::StrCat(kScheme, port_); }

absl::StatusOr<ConnId> LoopbackTransport::Connect(absl::string_view peer_address,
                                                  absl::string_view greeting) {
  uint64_t peer_port = 0;
  if (!absl::ConsumePrefix(&peer_address, kScheme) || !absl::SimpleAtoi(peer_address, &peer_port)) {
    return absl::InvalidArgumentError("not a loopback address");
  }
  MutexLock lock(&hub_->mutex_);
  if (!hub_->ports_.contains(peer_port)) return absl::UnavailableError("no such loopback port");
  const ConnId ours(++hub_->last_id_);
  const ConnId theirs(++hub_->last_id_);
  hub_->ends_[ours] = {port_, theirs};
  hub_->ends_[theirs] = {peer_port, ours};
  hub_->Deliver(peer_port,
                Delivery{Delivery::Kind::kGreeting, theirs, std::string(greeting), 0, {}, true});
  return ours;
}

absl::Status LoopbackTransport::Accept(ConnId conn, absl::string_view) {
  return IsOpen(conn) ? absl::OkStatus() : absl::UnavailableError("the peer is gone");
}

absl::Status LoopbackTransport::SendControl(ConnId conn, absl::string_view bytes) {
  MutexLock lock(&hub_->mutex_);
  const auto end = hub_->ends_.find(conn);
  const auto other = end == hub_->ends_.end() ? end : hub_->ends_.find(end->second.other);
  if (other == hub_->ends_.end()) return absl::UnavailableError("the connection is gone");
  hub_->Deliver(other->second.port,
                Delivery{Delivery::Kind::kControl, other->first, std::string(bytes), 0, {}, true});
  return absl::OkStatus();
}

absl::Status LoopbackTransport::SendSegment(ConnId conn, absl::string_view header,
                                            absl::Span<const std::byte> payload,
                                            SegmentToken token) {
  MutexLock lock(&hub_->mutex_);
  const auto end = hub_->ends_.find(conn);
  const auto other = end == hub_->ends_.end() ? end : hub_->ends_.find(end->second.other);
  if (other == hub_->ends_.end()) return absl::UnavailableError("the connection is gone");
  const uint64_t id = ++hub_->last_id_;
  hub_->transfers_[id] = {port_, conn, other->first, payload, token};
  hub_->Deliver(
      other->second.port,
      Delivery{Delivery::Kind::kSegment, other->first, std::string(header), id, {}, true});
  return absl::OkStatus();
}

void LoopbackTransport::Close(ConnId conn) {
  MutexLock lock(&hub_->mutex_);
  hub_->RemoveEnd(conn, "closed by the peer");
}

bool LoopbackTransport::IsOpen(ConnId conn) const {
  MutexLock lock(&hub_->mutex_);
  return hub_->ends_.contains(conn);
}

bool LoopbackTransport::Poll(TransportSink* sink) {
  std::deque<Delivery> inbox;
  {
    MutexLock lock(&hub_->mutex_);
    inbox.swap(hub_->ports_[port_].inbox);
  }
  const bool moved = !inbox.empty() || !posted_.empty();
  CopyPosted(sink);
  for (const Delivery& delivery : inbox) Tell(delivery, sink);
  return moved;
}

void LoopbackTransport::CopyPosted(TransportSink* sink) {
  for (const Posted& posted : std::exchange(posted_, {})) {
    bool ok = false;
    {
      // Copied under the lock, so that a sender that closes does not take its memory away
      // meanwhile.
      MutexLock lock(&hub_->mutex_);
      const auto transfer = hub_->transfers_.find(posted.transfer);
      ok = transfer != hub_->transfers_.end();
      if (ok) {
        const auto payload = transfer->second.payload;
        std::memcpy(posted.placement.memory.data(), payload.data(), payload.size());
        hub_->FinishTransfer(posted.transfer, true);
      }
    }
    sink->OnSegmentReceived(posted.conn, posted.placement.token, ok, {});
  }
}

void LoopbackTransport::Tell(const Delivery& delivery, TransportSink* sink) {
  if (delivery.kind == Delivery::Kind::kSent) {
    return sink->OnSegmentSent(delivery.conn, delivery.token, delivery.ok);
  }
  if (!IsOpen(delivery.conn)) return;
  switch (delivery.kind) {
    case Delivery::Kind::kGreeting:
      return sink->OnGreeting(delivery.conn, delivery.bytes);
    case Delivery::Kind::kControl:
      return sink->OnControl(delivery.conn, delivery.bytes);
    case Delivery::Kind::kSegment:
      return PlaceSegment(delivery, sink);
    case Delivery::Kind::kDown:
      Close(delivery.conn);
      return sink->OnConnectionDown(delivery.conn, delivery.bytes);
    case Delivery::Kind::kSent:
      return;
  }
}

void LoopbackTransport::PlaceSegment(const Delivery& delivery, TransportSink* sink) {
  size_t length = 0;
  {
    MutexLock lock(&hub_->mutex_);
    const auto transfer = hub_->transfers_.find(delivery.transfer);
    if (transfer == hub_->transfers_.end()) return;
    length = transfer->second.payload.size();
  }
  const std::optional<Placement> placement =
      sink->OnSegmentArriving(delivery.conn, delivery.bytes, length);
  if (placement.has_value()) {
    posted_.push_back({delivery.conn, *placement, delivery.transfer});
    return;
  }
  MutexLock lock(&hub_->mutex_);
  hub_->FinishTransfer(delivery.transfer, false);
}

bool LoopbackTransport::Arm() {
  uint64_t count = 0;
  if (read(event_fd_, &count, sizeof(count)) < 0) TANDEM_CHECK(errno == EAGAIN);
  MutexLock lock(&hub_->mutex_);
  return posted_.empty() && hub_->ports_[port_].inbox.empty();
}

}  // namespace tandem
