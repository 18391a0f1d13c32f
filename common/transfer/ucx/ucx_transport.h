// UcxTransport is the KvTransport between hosts: UCX active messages over RDMA or TCP, as UCX
// chooses.
//
// Control messages go eagerly, segments by rendezvous: UCX asks for the place on arrival and moves
// the bytes itself. Every message starts with its connection's key, 128 random bits drawn by the
// side that connects; a message without a known key reaches nobody. Endpoints are made explicitly
// on both sides, with an error handler, which is what makes UCX report a dead peer. A stopped or
// unreachable peer is never reported: deadlines are the engine's.
//
// Owned and called by the transfer thread, except for Create.
#pragma once

#include <array>
#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "common/transfer/kv_transport.h"
#include "common/transfer/ucx/ucx_context.h"

namespace tandem {

class UcxTransport : public KvTransport {
 public:
  static absl::StatusOr<std::unique_ptr<UcxTransport>> Create(UcxNetwork network);
  // Closes everything; waits shortly for receives that UCX still writes.
  ~UcxTransport() override;
  UcxTransport(const UcxTransport&) = delete;
  UcxTransport& operator=(const UcxTransport&) = delete;

  std::string LocalAddress() const override { return context_->address(); }
  absl::StatusOr<ConnId> Connect(absl::string_view peer_address,
                                 absl::string_view greeting) override;
  absl::Status Accept(ConnId conn, absl::string_view reply_address) override;
  absl::Status SendControl(ConnId conn, absl::string_view bytes) override;
  absl::Status SendSegment(ConnId conn, absl::string_view header,
                           absl::Span<const std::byte> payload, SegmentToken token) override;
  void Close(ConnId conn) override;
  bool Poll(TransportSink* sink) override;
  int EventFd() const override { return context_->event_fd(); }
  bool Arm() override;
  std::string Describe() const override { return context_->description(); }
  std::string DescribeLanes(ConnId conn) const override;

 private:
  using Key = std::array<char, 16>;
  enum class Kind : unsigned { kGreeting = 1, kControl = 2, kSegment = 3, kGoodbye = 4 };

  struct Conn {
    UcxTransport* transport = nullptr;
    ConnId id;
    Key key{};
    ucp_ep_h endpoint = nullptr;
    size_t messages_in_flight = 0;
    void* close_request = nullptr;
  };

  // A send or receive that UCX has not ended yet.
  struct Op {
    UcxTransport* transport = nullptr;
    Kind kind = Kind::kControl;
    bool receive = false;
    ConnId conn;
    SegmentToken token;
    std::string header;
    std::string body;
  };

  // What callbacks leave for the end of Poll.
  struct Notice {
    enum class Kind { kGreeting, kControl, kReceived, kSent, kDown } kind;
    ConnId conn;
    std::string bytes;
    SegmentToken token;
    bool ok = true;
  };

  explicit UcxTransport(std::unique_ptr<UcxContext> context);
  absl::Status RegisterHandlers();
  absl::Status OpenEndpoint(Conn* conn, absl::string_view address);
  absl::StatusOr<Conn*> FindUsable(ConnId id);
  Conn* FindByHeader(const void* header, size_t length);
  Conn& NewConn(const Key& key);
  absl::Status Post(Conn* conn, std::unique_ptr<Op> op, const void* data, size_t size);
  void EndOp(Op* op, ucs_status_t status);
  void Tell(const Notice& notice, TransportSink* sink);
  void FreeClosed();

  ucs_status_t HandleGreeting(const void* header, size_t header_length, const void* data,
                              size_t length, bool inline_data);
  ucs_status_t HandleControl(const void* header, size_t header_length, const void* data,
                             size_t length, bool inline_data);
  ucs_status_t HandleSegment(const void* header, size_t header_length, void* data, size_t length,
                             bool inline_data);
  ucs_status_t HandleGoodbye(const void* header, size_t header_length);

  const std::unique_ptr<UcxContext> context_;
  TransportSink* sink_ = nullptr;  // during Poll
  std::map<ConnId, std::unique_ptr<Conn>> conns_;
  absl::flat_hash_map<Key, ConnId> keys_;
  std::vector<Notice> notices_;
  std::vector<std::unique_ptr<Conn>> closing_;
  size_t ops_in_flight_ = 0;
  uint64_t last_conn_ = 0;
};

}  // namespace tandem
