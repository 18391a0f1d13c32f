#include "common/transfer/transfer_engine.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/crc32c.h"
#include "common/base/deadline.h"
#include "common/base/status_macros.h"
#include "common/protocol/peer_wire.h"
#include "common/transfer/block_checksum.h"

namespace tandem {

TransferEngine::TransferEngine(KvTransport* transport, KvMemory memory,
                               TransferEngineOptions options)
    : transport_(transport),
      memory_(memory),
      options_(std::move(options)),
      landings_(std::move(memory), &events_, &counters_) {
  transport_->ShareMemory(memory_.shared);
}

void TransferEngine::Handle(TransferCommand command, Instant now) {
  now_ = now;
  std::visit([this](const auto& c) { Do(c); }, command);
}

bool TransferEngine::Poll(Instant now) {
  now_ = now;
  const bool moved = transport_->Poll(this);
  EnforceDeadlines();
  return moved || !events_.empty();
}

std::vector<TransferEvent> TransferEngine::TakeEvents() { return std::exchange(events_, {}); }

size_t TransferEngine::num_in_flight() const { return sends_.size() + receives_.size(); }

void TransferEngine::EndAllPeers(absl::string_view reason) {
  while (!peers_.empty()) EndPeer(peers_.begin()->first, reason);
  for (const auto& [conn, link] : links_) transport_->Close(conn);
  links_.clear();
}

// ---- commands ----

void TransferEngine::Do(const ConnectPeer& command) {
  if (FindPeer(command.peer) != nullptr) return;
  const std::string hello =
      EncodePeerMessage(PeerHello{options_.handshake, transport_->LocalAddress()});
  const absl::StatusOr<ConnId> conn = transport_->Connect(command.address, hello);
  Peer& peer = peers_[command.peer];
  peer.serial = ++last_serial_;
  if (!conn.ok()) return EndPeer(command.peer, conn.status().message());
  peer.links.push_back(*conn);
  Link& link = links_[*conn];
  link.peer = command.peer;
  link.outgoing = true;
  link.deadline = DeadlineAfter(now_, options_.connect_deadline);
}

void TransferEngine::Do(const SendPeerMessage& command) {
  Peer* peer = FindPeer(command.peer);
  if (peer == nullptr) return;
  std::string bytes = EncodePeerMessage(command.message);
  if (peer->up) return SendNow(command.peer, bytes);
  if (peer->outbox.size() >= options_.max_held_messages) {
    return EndPeer(command.peer, "too many messages wait for the handshake");
  }
  peer->outbox.push_back(std::move(bytes));
}

void TransferEngine::Do(const OpenLanding& command) { landings_.Open(command); }

void TransferEngine::Do(const CloseLanding& command) { landings_.Close(command.grant); }

void TransferEngine::Do(const PushSegment& command) {
  TANDEM_CHECK(command.segment.layer < memory_.num_layers && command.segment.num_blocks > 0 &&
               command.segment.num_blocks <= kMaxBlocksPerSegment &&
               command.source.value() < memory_.num_blocks &&
               command.segment.num_blocks <= memory_.num_blocks - command.source.value());
  Peer* peer = FindPeer(command.peer);
  if (peer == nullptr || !peer->up) return FailPush(command.push);
  peer->queued.push_back(command);
  StartPushes(command.peer, *peer);
}

// ---- handshake ----

absl::Status TransferEngine::CheckHello(const Handshake& theirs) const {
  if (theirs.incarnation == Incarnation() || theirs.incarnation == options_.handshake.incarnation) {
    return absl::FailedPreconditionError(absl::StrCat(
        "handshake mismatch in incarnation: ours '", options_.handshake.incarnation.value(),
        "', theirs '", theirs.incarnation.value(), "'"));
  }
  return CheckPairing(options_.handshake, theirs, options_.allow_mixed_numerics);
}

void TransferEngine::OnGreeting(ConnId conn, absl::string_view bytes) {
  const absl::StatusOr<PeerMessage> message = DecodePeerMessage(bytes);
  const PeerHello* hello = message.ok() ? std::get_if<PeerHello>(&*message) : nullptr;
  if (hello == nullptr || links_.size() >= options_.max_peers) {
    Fence(hello == nullptr ? FenceReason::kMalformed : FenceReason::kUnexpected, conn,
          message.ok() ? "greeting refused" : message.status().message());
    return transport_->Close(conn);
  }
  if (const absl::Status accepted = transport_->Accept(conn, hello->reply_address);
      !accepted.ok()) {
    Fence(FenceReason::kMalformed, conn, accepted.message());
    return transport_->Close(conn);
  }
  const absl::Status pairs = CheckHello(hello->handshake);
  if (!pairs.ok()) return RefuseGreeting(conn, pairs);

  const Incarnation id = hello->handshake.incarnation;
  if (Peer* known = FindPeer(id)) {
    // It knows that its earlier connection is gone before we do. (One of ours may stay: both
    // connected at once.)
    const bool superseded = std::any_of(known->links.begin(), known->links.end(),
                                        [this](ConnId c) { return !links_.at(c).outgoing; });
    if (superseded) EndPeer(id, "the peer connected anew");
  }
  const auto [peer, inserted] = peers_.try_emplace(id);
  if (inserted) peer->second.serial = ++last_serial_;
  peer->second.links.push_back(conn);
  links_[conn].peer = id;
  const std::string ack = EncodePeerMessage(PeerHelloAck{options_.handshake, ""});
  if (const absl::Status sent = transport_->SendControl(conn, ack); !sent.ok()) {
    return EndPeer(id, sent.message());
  }
  MakeReady(conn, id);
}

void TransferEngine::RefuseGreeting(ConnId conn, const absl::Status& why) {
  Fence(FenceReason::kMismatch, conn, why.message());
  // The ack names both values to the peer, which then closes.
  const std::string ack =
      EncodePeerMessage(PeerHelloAck{options_.handshake, std::string(why.message())});
  if (!transport_->SendControl(conn, ack).ok()) return transport_->Close(conn);
  Link& link = links_[conn];
  link.state = Link::State::kRefused;
  link.deadline = DeadlineAfter(now_, options_.connect_deadline);
}

void TransferEngine::HandleAck(ConnId conn, const PeerHelloAck& ack) {
  const Incarnation id = links_.at(conn).peer;
  if (!ack.error.empty()) return EndPeer(id, absl::StrCat("refused by the peer: ", ack.error));
  if (ack.handshake.incarnation != id) {
    Fence(FenceReason::kWrongIncarnation, conn, "its address belongs to another life");
    return EndPeer(id, absl::StrCat("handshake mismatch in incarnation: expected '", id.value(),
                                    "', found '", ack.handshake.incarnation.value(), "'"));
  }
  if (const absl::Status pairs = CheckHello(ack.handshake); !pairs.ok()) {
    Fence(FenceReason::kMismatch, conn, pairs.message());
    return EndPeer(id, pairs.message());
  }
  std::vector<std::string> early = std::exchange(links_.at(conn).early, {});
  MakeReady(conn, id);
  for (const std::string& bytes : early) OnControl(conn, bytes);
}

void TransferEngine::MakeReady(ConnId conn, Incarnation id) {
  Link& link = links_.at(conn);
  link.state = Link::State::kReady;
  link.deadline = kNever;
  Peer& peer = peers_.at(id);
  options_.log(absl::StrCat("transfer: peer ", id.value(),
                            link.outgoing ? " connected" : " accepted", " over ",
                            transport_->DescribeLanes(conn)));
  if (peer.up) return;
  peer.up = true;
  peer.send_link = conn;
  ++counters_.peers_up;
  events_.emplace_back(PeerUp{id});
  for (const std::string& bytes : std::exchange(peer.outbox, {})) SendNow(id, bytes);
}

// ---- control messages ----

void TransferEngine::SendNow(Incarnation id, absl::string_view bytes) {
  Peer* peer = FindPeer(id);
  if (peer == nullptr) return;  // an earlier message of a batch has ended it
  const absl::Status sent = transport_->SendControl(peer->send_link, bytes);
  if (!sent.ok()) EndPeer(id, sent.message());
}

void TransferEngine::OnControl(ConnId conn, absl::string_view bytes) {
  const auto it = links_.find(conn);
  if (it == links_.end()) return;
  Link& link = it->second;
  if (link.state == Link::State::kRefused)
    return Fence(FenceReason::kUnexpected, conn, "refused peer");
  absl::StatusOr<PeerMessage> message = DecodePeerMessage(bytes);
  if (!message.ok()) {
    Fence(FenceReason::kMalformed, conn, message.status().message());
    return EndPeer(link.peer, absl::StrCat("malformed message: ", message.status().message()));
  }
  if (link.state == Link::State::kReady) {
    return HandleMessage(conn, link.peer, *std::move(message));
  }
  if (const auto* ack = std::get_if<PeerHelloAck>(&*message)) return HandleAck(conn, *ack);
  if (link.early.size() >= options_.max_held_messages) {
    return EndPeer(link.peer, "too many messages came before the handshake's answer");
  }
  link.early.emplace_back(bytes);
}

void TransferEngine::HandleMessage(ConnId conn, Incarnation peer, PeerMessage message) {
  if (std::holds_alternative<PeerHello>(message) || std::holds_alternative<PeerHelloAck>(message)) {
    return Fence(FenceReason::kUnexpected, conn, "the handshake is done");
  }
  if (auto* commit = std::get_if<Commit>(&message)) {
    return landings_.HandleCommit(peer, std::move(*commit));
  }
  if (const auto* offer = std::get_if<Offer>(&message);
      offer != nullptr && offer->receiver != options_.handshake.incarnation) {
    Fence(FenceReason::kWrongIncarnation, conn, "an offer for another life of this worker");
    return SendNow(
        peer, EncodePeerMessage(OfferRefused{
                  offer->nonce,
                  absl::StrCat("wrong incarnation: ours '", options_.handshake.incarnation.value(),
                               "', meant for '", offer->receiver.value(), "'")}));
  }
  events_.emplace_back(PeerMessageReceived{peer, std::move(message)});
}

// ---- segments ----

void TransferEngine::StartPushes(Incarnation id, Peer& peer) {
  while (!peer.queued.empty()) {
    const PushSegment push = peer.queued.front();
    const size_t bytes = push.segment.num_blocks * memory_.block_bytes;
    const bool room =
        peer.bytes_in_flight == 0 || peer.bytes_in_flight + bytes <= options_.max_inflight_bytes;
    if (!room) return;
    peer.queued.pop_front();
    if (const absl::Status sent = StartPush(peer, push); !sent.ok()) {
      FailPush(push.push);
      return EndPeer(id, sent.message());
    }
    sends_[push.push] = InFlight{id, peer.serial, bytes};
    peer.bytes_in_flight += bytes;
    Posted(peer);
  }
}

absl::Status TransferEngine::StartPush(Peer& peer, const PushSegment& push) {
  const absl::Span<std::byte> source =
      memory_.run(push.segment.layer, push.source, push.segment.num_blocks);
  SegmentHeader header{push.grant, push.segment, {}};
  header.block_crc32c.reserve(push.segment.num_blocks);
  for (uint32_t i = 0; i < push.segment.num_blocks; ++i) {
    header.block_crc32c.push_back(
        BlockChecksum(push.nonce, push.segment, push.segment.first_block + i,
                      Crc32c(source.subspan(i * memory_.block_bytes, memory_.block_bytes))));
  }
  TANDEM_CHECK_MSG(!sends_.contains(push.push), "a push id is used once");
  return transport_->SendSegment(peer.send_link, EncodeSegmentHeader(header), source,
                                 SegmentToken(push.push.value()));
}

void TransferEngine::FailPush(PushId push) {
  ++counters_.segments_failed;
  events_.emplace_back(SegmentSent{push, false});
}

void TransferEngine::OnSegmentSent(ConnId, SegmentToken token, bool ok) {
  const PushId push(token.value());
  const auto it = sends_.find(push);
  TANDEM_CHECK_MSG(it != sends_.end(), "the transport reported a send twice");
  const InFlight op = it->second;
  sends_.erase(it);
  Peer* peer = FindPeer(op.peer);
  const bool current = peer != nullptr && peer->serial == op.serial;
  if (current) peer->bytes_in_flight -= op.bytes;
  Settle(op);
  if (!ok) {
    FailPush(push);
  } else {
    ++counters_.segments_sent;
    counters_.bytes_sent += op.bytes;
    events_.emplace_back(SegmentSent{push, true});
  }
  if (current) StartPushes(op.peer, *peer);
}

std::optional<Placement> TransferEngine::OnSegmentArriving(ConnId conn, absl::string_view header,
                                                           size_t length) {
  const auto link = links_.find(conn);
  if (link == links_.end() || link->second.state != Link::State::kReady) {
    ++counters_[SegmentRefusal::kUnknownPeer];
    return std::nullopt;
  }
  const absl::StatusOr<SegmentHeader> decoded = DecodeSegmentHeader(header);
  if (!decoded.ok()) {
    ++counters_[SegmentRefusal::kMalformedHeader];
    return std::nullopt;
  }
  const std::optional<Placement> placement = landings_.Place(link->second.peer, *decoded, length);
  if (!placement.has_value()) return std::nullopt;
  Peer& peer = peers_.at(link->second.peer);
  receives_[placement->token] = InFlight{link->second.peer, peer.serial, length};
  Posted(peer);
  return placement;
}

void TransferEngine::OnSegmentReceived(ConnId, SegmentToken token, bool ok,
                                       absl::Span<const uint32_t> piece_crc32c) {
  const auto it = receives_.find(token);
  TANDEM_CHECK_MSG(it != receives_.end(), "the transport reported a receive twice");
  const InFlight op = it->second;
  receives_.erase(it);
  Settle(op);
  landings_.Received(token, ok, piece_crc32c);
}

void TransferEngine::Posted(Peer& peer) {
  if (peer.posted++ == 0) peer.last_progress = now_;
  ++counters_.in_flight;
}

void TransferEngine::Settle(const InFlight& op) {
  --counters_.in_flight;
  Peer* peer = FindPeer(op.peer);
  if (peer == nullptr || peer->serial != op.serial) {
    --counters_.in_flight_of_ended_peers;
    return;
  }
  --peer->posted;
  peer->last_progress = now_;
}

// ---- the end of peers ----

void TransferEngine::OnConnectionDown(ConnId conn, absl::string_view reason) {
  const auto it = links_.find(conn);
  if (it == links_.end()) return;
  if (it->second.state == Link::State::kRefused) {
    links_.erase(it);
    return;
  }
  EndPeer(it->second.peer, reason);
}

void TransferEngine::EndPeer(Incarnation id, absl::string_view reason) {
  const auto node = peers_.extract(id);
  if (node.empty()) return;
  const Peer& peer = node.mapped();
  options_.log(absl::StrCat("transfer: peer ", id.value(), " down: ", reason));
  for (const ConnId conn : peer.links) {
    transport_->Close(conn);
    links_.erase(conn);
  }
  landings_.RefusePeer(id);
  for (const PushSegment& push : peer.queued) FailPush(push.push);
  counters_.in_flight_of_ended_peers += peer.posted;
  ++counters_.peers_down;
  events_.emplace_back(PeerDown{id, std::string(reason)});
}

Instant TransferEngine::StallDeadline(const Peer& peer) const {
  if (peer.posted == 0) return kNever;
  return DeadlineAfter(peer.last_progress, options_.no_progress_limit);
}

Instant TransferEngine::NextDeadline() const {
  Instant next = kNever;
  for (const auto& [conn, link] : links_) next = std::min(next, link.deadline);
  for (const auto& [id, peer] : peers_) next = std::min(next, StallDeadline(peer));
  return next;
}

void TransferEngine::EnforceDeadlines() {
  if (NextDeadline() > now_) return;
  std::vector<Incarnation> silent;
  for (auto it = links_.begin(); it != links_.end();) {
    const auto& [conn, link] = *it;
    if (link.deadline <= now_ && link.state == Link::State::kRefused) {
      transport_->Close(conn);
      it = links_.erase(it);
      continue;
    }
    if (link.deadline <= now_) silent.push_back(link.peer);
    ++it;
  }
  for (const Incarnation id : silent) {
    EndPeer(id,
            absl::StrCat("no handshake within ", ToMilliseconds(options_.connect_deadline), " ms"));
  }
  std::vector<Incarnation> stalled;
  for (const auto& [id, peer] : peers_) {
    if (StallDeadline(peer) <= now_) stalled.push_back(id);
  }
  for (const Incarnation id : stalled) {
    ++counters_.stalled_peers;
    EndPeer(id, absl::StrCat("posted bytes made no progress for ",
                             ToMilliseconds(options_.no_progress_limit), " ms"));
  }
}

Peer* TransferEngine::FindPeer(Incarnation id) {
  const auto it = peers_.find(id);
  return it == peers_.end() ? nullptr : &it->second;
}

void TransferEngine::Fence(FenceReason why, ConnId conn, absl::string_view detail) {
  ++counters_[why];
  options_.log(absl::StrCat("transfer: connection ", conn.value(), ": dropped a message (",
                            FenceReasonName(why), "): ", detail));
}

}  // namespace tandem
