// TransferEngine carries out a core's TransferCommands over a KvTransport and answers with
// TransferEvents: handshakes, pushes with a checksum per block, landings that check each segment
// before any memory is named, commits that wait for their segments, quiescence, and deadlines on
// peers that make no progress.
//
// A deterministic state machine: it owns no thread and reads no clock. Owned by the transfer thread
// (or a simulation). It does not decide who may write (the core opens landings) and does not
// acknowledge commits (the core does).
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "common/base/clock.h"
#include "common/engine/transfer_port.h"
#include "common/protocol/handshake.h"
#include "common/protocol/peer_messages.h"
#include "common/transfer/kv_memory.h"
#include "common/transfer/kv_transport.h"
#include "common/transfer/landing_table.h"
#include "common/transfer/peer_table.h"
#include "common/transfer/transfer_counters.h"

namespace tandem {

struct TransferEngineOptions {
  Handshake handshake;  // ours
  bool allow_mixed_numerics = false;
  Duration connect_deadline = std::chrono::seconds(5);
  // A peer with posted bytes of which none completes for this long is ended. In flight are at most
  // `max_inflight_bytes` per peer, so links down to max_inflight_bytes / no_progress_limit are
  // never judged dead.
  Duration no_progress_limit = std::chrono::seconds(1);
  size_t max_inflight_bytes = size_t{8} << 20;
  // Messages held per peer: ours while it is connecting, its own while its handshake is on the way.
  // One more ends it.
  size_t max_held_messages = 1024;
  size_t max_peers = 1024;                                                // more are refused
  std::function<void(absl::string_view)> log = [](absl::string_view) {};  // one line an event
};

class TransferEngine : private TransportSink {
 public:
  // `transport` outlives the engine.
  TransferEngine(KvTransport* transport, KvMemory memory, TransferEngineOptions options);

  void Handle(TransferCommand command, Instant now);

  // Moves what can be moved and enforces deadlines. True: something happened.
  bool Poll(Instant now);

  // When Poll must be called at the latest, kNever when only the transport can bring news.
  Instant NextDeadline() const;

  // The events since the last call, in order.
  std::vector<TransferEvent> TakeEvents();

  // Ends every peer. Segments in flight still end through later Polls.
  void EndAllPeers(absl::string_view reason);

  // Segments that the transport may still read or write. Zero: all our memory is ours.
  size_t num_in_flight() const;

  const TransferCounters& counters() const { return counters_; }

 private:
  void Do(const ConnectPeer& command);
  void Do(const SendPeerMessage& command);
  void Do(const OpenLanding& command);
  void Do(const CloseLanding& command);
  void Do(const PushSegment& command);

  void OnGreeting(ConnId conn, absl::string_view bytes) override;
  void OnControl(ConnId conn, absl::string_view bytes) override;
  std::optional<Placement> OnSegmentArriving(ConnId conn, absl::string_view header,
                                             size_t length) override;
  void OnSegmentReceived(ConnId conn, SegmentToken token, bool ok,
                         absl::Span<const uint32_t> piece_crc32c) override;
  void OnSegmentSent(ConnId conn, SegmentToken token, bool ok) override;
  void OnConnectionDown(ConnId conn, absl::string_view reason) override;

  absl::Status CheckHello(const Handshake& theirs) const;
  void RefuseGreeting(ConnId conn, const absl::Status& why);
  void HandleAck(ConnId conn, const PeerHelloAck& ack);
  void HandleMessage(ConnId conn, Incarnation peer, PeerMessage message);
  void MakeReady(ConnId conn, Incarnation id);
  void SendNow(Incarnation id, absl::string_view bytes);
  void StartPushes(Incarnation id, Peer& peer);
  absl::Status StartPush(Peer& peer, const PushSegment& push);
  void FailPush(PushId push);
  void EndPeer(Incarnation id, absl::string_view reason);
  void EnforceDeadlines();
  Instant StallDeadline(const Peer& peer) const;
  void Posted(Peer& peer);
  void Settle(const InFlight& op);
  Peer* FindPeer(Incarnation id);
  void Fence(FenceReason why, ConnId conn, absl::string_view detail);

  KvTransport* const transport_;
  const KvMemory memory_;
  const TransferEngineOptions options_;
  TransferCounters counters_;
  std::vector<TransferEvent> events_;
  LandingTable landings_;
  Instant now_;  // of the call being handled
  // Ordered, so that the same inputs give the same outputs.
  std::map<Incarnation, Peer> peers_;
  std::map<ConnId, Link> links_;
  absl::flat_hash_map<PushId, InFlight> sends_;
  absl::flat_hash_map<SegmentToken, InFlight> receives_;
  uint64_t last_serial_ = 0;
};

}  // namespace tandem
