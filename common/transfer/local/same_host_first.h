// SameHostFirst joins two transports into one: peers of this host are reached by the near one, all
// others, and those that the near one cannot serve, by the far one.
//
// Which one a peer gets is found by trying: the near Connect fails at once for a peer that is not
// here. A near connection that ends before the peer's first message is tried again over the far
// one, without a word to the caller: the peer may not read our memory, or it has just died.
//
// Owned and called by the transfer thread.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "common/transfer/kv_transport.h"

namespace tandem {

class SameHostFirst final : public KvTransport {
 public:
  // `near` may be null: then all peers are far.
  SameHostFirst(std::unique_ptr<KvTransport> near, std::unique_ptr<KvTransport> far);
  ~SameHostFirst() override;
  SameHostFirst(const SameHostFirst&) = delete;
  SameHostFirst& operator=(const SameHostFirst&) = delete;

  void ShareMemory(const SharedRegion& region) override;
  std::string LocalAddress() const override;
  absl::StatusOr<ConnId> Connect(absl::string_view peer_address,
                                 absl::string_view greeting) override;
  absl::Status Accept(ConnId conn, absl::string_view reply_address) override;
  absl::Status SendControl(ConnId conn, absl::string_view bytes) override;
  absl::Status SendSegment(ConnId conn, absl::string_view header,
                           absl::Span<const std::byte> payload, SegmentToken token) override;
  void Close(ConnId conn) override;
  bool Poll(TransportSink* sink) override;
  int EventFd() const override { return epoll_fd_; }
  bool Arm() override;
  std::string Describe() const override;
  std::string DescribeLanes(ConnId conn) const override;

 private:
  class Side;

  // A near connection whose peer has not been heard yet.
  struct Attempt {
    std::string far_address;
    std::string greeting;
  };
  struct Place {
    KvTransport* transport;
    ConnId conn;
  };

  Place Find(ConnId conn) const;
  ConnId NameOf(bool far, ConnId conn) const;
  // Whether the connection goes on over the far transport.
  bool FallBack(ConnId name);
  void Forget(ConnId name);

  const std::unique_ptr<KvTransport> near_;
  const std::unique_ptr<KvTransport> far_;
  const int epoll_fd_;
  std::map<ConnId, Attempt> attempts_;         // by their name to the caller
  std::map<ConnId, ConnId> fallen_back_;       // their name -> the far connection
  std::map<ConnId, ConnId> fallen_back_name_;  // the other way round
};

}  // namespace tandem
