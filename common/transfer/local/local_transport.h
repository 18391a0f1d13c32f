// LocalTransport is the KvTransport between processes of one user on one host: messages over a
// Unix socket, segments copied once, straight from the sender's memory, by the receiver: through a
// mapping of it where the sender shares its memory (ShareMemory), else by process_vm_readv, which
// costs a third more processor time.
//
// Why not UCX's shared memory: its receive queue is shared by all senders, so a sender that is
// killed between reserving and filling a slot stalls it for everyone, and a dead peer is found by
// polling. Here nothing is shared: each peer has its own socket, the kernel tells of its death at
// once, and the one who writes memory is its owner.
//
// A segment's announcement says where it lies in the sender's memory; the receiver names its own.
// It is read from the process that the kernel says has connected, of the same user as we: what a
// liar names is read with no more rights than that user has, and the checksums, keyed by the grant,
// tell bytes that are not the ones announced. Processes of the same user are trusted not to stop
// us: memory that they make slow to read holds this thread.
//
// The sender hears that segments were copied once a while, not of each: woken less often, it takes
// a third less processor time a byte.
//
// Receives end with their connection at once. Sends do too: a peer that was stopped meanwhile may
// read the memory later, but finds the connection closed then and throws away what it read.
//
// A greeting begins with the version of these frames. A peer of another one is hung up before its
// first message, as one whose memory may not be read: such peers meet over another transport.
//
// At most 64 connections have not greeted: the oldest of them gives way to a new one, also when
// there are no descriptors left. When none can give way, new ones wait until some are free.
//
// Owned and called by the transfer thread, except for Create.
#pragma once

#include <sys/types.h>

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "common/transfer/kv_transport.h"
#include "common/transfer/local/frame_socket.h"
#include "common/transfer/local/peer_memory.h"

namespace tandem {

class LocalTransport final : public KvTransport {
 public:
  static absl::StatusOr<std::unique_ptr<LocalTransport>> Create();
  ~LocalTransport() override;
  LocalTransport(const LocalTransport&) = delete;
  LocalTransport& operator=(const LocalTransport&) = delete;

  void ShareMemory(const SharedRegion& region) override { shared_ = region; }
  // A random name: it exists nowhere but in this network namespace.
  std::string LocalAddress() const override { return name_; }
  // UNAVAILABLE: the peer is not here, or its memory may not be read. The other way round, a peer
  // that may not read ours hangs up before its first message.
  absl::StatusOr<ConnId> Connect(absl::string_view peer_address,
                                 absl::string_view greeting) override;
  absl::Status Accept(ConnId conn, absl::string_view reply_address) override;
  absl::Status SendControl(ConnId conn, absl::string_view bytes) override;
  absl::Status SendSegment(ConnId conn, absl::string_view header,
                           absl::Span<const std::byte> payload, SegmentToken token) override;
  void Close(ConnId conn) override;
  bool Poll(TransportSink* sink) override;
  int EventFd() const override { return epoll_fd_; }
  bool Arm() override { return ended_.empty() && num_copies_ == 0; }
  std::string Describe() const override { return "local"; }
  // How the peer's segments are read.
  std::string DescribeLanes(ConnId conn) const override;

 private:
  // An accepted segment that is not copied yet.
  struct Copy {
    uint64_t number = 0;  // the sender's
    Placement placement;
    uintptr_t source = 0;                // in the sender's memory
    absl::Span<const std::byte> mapped;  // the same here; empty: the kernel has to read it
    size_t copied = 0;
    std::vector<uint32_t> piece_crc32c;  // of what was copied through the mapping
  };
  struct Conn {
    Conn(int fd, pid_t peer);
    FrameSocket socket;
    const pid_t peer;
    bool greeted = false;
    bool claimed_memory = false;
    std::unique_ptr<PeerMemory> memory;  // null: none that can be mapped
    bool watches_write = false;
    uint64_t last_number = 0;
    std::map<uint64_t, SegmentToken> sends;
    std::deque<Copy> copies;
    std::string copied_ends;   // of segments that were copied, not told yet
    size_t copied_untold = 0;  // their bytes
  };
  // The end of a segment that Close caused, told by the next Poll.
  struct Ended {
    ConnId conn;
    SegmentToken token;
    bool received = false;
  };

  // Epoll tags; connections are numbered from 1.
  static constexpr uint64_t kListener = 0;
  static constexpr uint64_t kRetryTimer = ~uint64_t{0};

  LocalTransport(int epoll_fd, int listen_fd, int retry_fd, std::string name);
  // Listens and knows the timer, or why not.
  absl::Status Start();
  // Takes over `fd` when OK.
  absl::StatusOr<ConnId> Add(int fd, pid_t peer);
  bool Watch(int fd, uint64_t tag);
  void PauseListening();
  void ResumeListening();
  Conn* Find(ConnId id);
  void Send(ConnId id, Conn& conn, uint8_t kind, absl::string_view bytes);
  void Flush(ConnId id, Conn& conn);
  void AcceptNew();
  bool MakeRoom(ConnId newest);
  void Receive(ConnId id, TransportSink* sink);
  // False: the frame is none that an honest peer sends.
  bool Handle(ConnId id, const Frame& frame, TransportSink* sink);
  bool HandleGreeting(ConnId id, const Frame& frame, TransportSink* sink);
  bool HandleMemory(ConnId id, const Frame& frame);
  bool HandleSegment(ConnId id, const Frame& frame, TransportSink* sink);
  bool HandleSegmentEnd(ConnId id, const Frame& frame, TransportSink* sink);
  void CopySome(TransportSink* sink);
  void CopyFrom(ConnId id, size_t* room, TransportSink* sink);
  static size_t CopyPieces(Copy& copy, size_t room);
  static size_t CopyByKernel(pid_t peer, Copy& copy, size_t room);
  void EndCopy(ConnId id, Conn& conn, bool ok, TransportSink* sink);
  void TellEnds(ConnId id, Conn& conn);
  void Down(ConnId id, absl::string_view reason, TransportSink* sink);

  const int epoll_fd_;
  const int listen_fd_;
  const int retry_fd_;  // of a timer, set while the listener is not heard
  const std::string name_;
  SharedRegion shared_;
  std::map<ConnId, std::unique_ptr<Conn>> conns_;
  std::set<ConnId> ungreeted_;  // accepted ones; the oldest first
  std::vector<Ended> ended_;
  size_t num_copies_ = 0;
  uint64_t last_conn_ = 0;
  ConnId last_copied_;
};

}  // namespace tandem
