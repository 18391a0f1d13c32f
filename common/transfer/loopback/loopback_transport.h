// LoopbackTransport joins transfer engines inside one process through a LoopbackHub, with memcpy
// for the bytes. For tests and the simulation: given the same calls it does the same things in the
// same order.
//
// A segment is posted in one Poll of the receiver and copied in its next, so that a test can see
// receives in flight. The hub is thread-safe, so its transports may live on different threads; each
// transport is not.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/base/mutex.h"
#include "common/transfer/kv_transport.h"

namespace tandem {

class LoopbackTransport;

// The wires between loopback transports. Outlives them (they share it).
class LoopbackHub {
 private:
  friend class LoopbackTransport;

  // Something for a port, told in its next Poll. `conn` is that port's end.
  struct Delivery {
    enum class Kind { kGreeting, kControl, kSegment, kSent, kDown } kind;
    ConnId conn;
    std::string bytes;      // message, header or reason
    uint64_t transfer = 0;  // kSegment
    SegmentToken token;     // kSent
    bool ok = true;         // kSent
  };

  // One end of a connection.
  struct End {
    uint64_t port = 0;
    ConnId other;  // may be gone already
  };

  // A segment on its way; erased when it is copied, refused or cut off.
  struct Transfer {
    uint64_t sender_port = 0;
    ConnId sender;
    ConnId receiver;
    absl::Span<const std::byte> payload;
    SegmentToken token;
  };

  struct Port {
    std::deque<Delivery> inbox;
    int event_fd = -1;
  };

  void Deliver(uint64_t port, Delivery delivery) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FinishTransfer(uint64_t id, bool ok) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Removes one end, cuts off its segments and tells the other end.
  void RemoveEnd(ConnId conn, const std::string& reason) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Mutex mutex_;
  std::map<uint64_t, Port> ports_ ABSL_GUARDED_BY(mutex_);
  std::map<ConnId, End> ends_ ABSL_GUARDED_BY(mutex_);
  std::map<uint64_t, Transfer> transfers_ ABSL_GUARDED_BY(mutex_);
  uint64_t last_id_ ABSL_GUARDED_BY(mutex_) = 0;  // of ports, ends and transfers
};

class LoopbackTransport : public KvTransport {
 public:
  explicit LoopbackTransport(std::shared_ptr<LoopbackHub> hub);
  // Like the death of a process: peers hear that their connections are down.
  ~LoopbackTransport() override;
  LoopbackTransport(const LoopbackTransport&) = delete;
  LoopbackTransport& operator=(const LoopbackTransport&) = delete;

  std::string LocalAddress() const override;
  absl::StatusOr<ConnId> Connect(absl::string_view peer_address,
                                 absl::string_view greeting) override;
  absl::Status Accept(ConnId conn, absl::string_view reply_address) override;
  absl::Status SendControl(ConnId conn, absl::string_view bytes) override;
  absl::Status SendSegment(ConnId conn, absl::string_view header,
                           absl::Span<const std::byte> payload, SegmentToken token) override;
  void Close(ConnId conn) override;
  bool Poll(TransportSink* sink) override;
  int EventFd() const override { return event_fd_; }
  bool Arm() override;
  std::string Describe() const override { return "loopback"; }
  std::string DescribeLanes(ConnId) const override { return "loopback/memory"; }

 private:
  using Delivery = LoopbackHub::Delivery;

  // A segment whose memory the sink has named.
  struct Posted {
    ConnId conn;
    Placement placement;
    uint64_t transfer = 0;
  };

  void Tell(const Delivery& delivery, TransportSink* sink);
  void PlaceSegment(const Delivery& delivery, TransportSink* sink);
  void CopyPosted(TransportSink* sink);
  bool IsOpen(ConnId conn) const;

  const std::shared_ptr<LoopbackHub> hub_;
  uint64_t port_ = 0;
  int event_fd_ = -1;
  std::vector<Posted> posted_;
};

}  // namespace tandem
