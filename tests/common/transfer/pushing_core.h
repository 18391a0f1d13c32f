// The smallest core that speaks the push protocol: it offers all its blocks again and again (a
// pusher), and grants whatever it is offered (a lander). Both sides of the two-process tests and of
// the bandwidth measurement.
#pragma once

#include <algorithm>

#include "tests/common/transfer/engine_node.h"

namespace tandem {

class PushingCore {
 public:
  // `blocks_per_segment` blocks travel together. Grants are numbered from `grants_before` + 1:
  // those of earlier cores of the same node are not named again.
  PushingCore(EngineNode* node, bool pusher, uint32_t blocks_per_segment,
              uint64_t grants_before = 0)
      : node_(node),
        pusher_(pusher),
        blocks_per_segment_(blocks_per_segment),
        grants_(grants_before),
        quiesced_(grants_before) {}

  // Handles what happened since the last call.
  void Step() {
    for (; handled_ < node_->events.size(); ++handled_) {
      const TransferEvent event = node_->events[handled_];
      std::visit([this](const auto& e) { On(e); }, event);
    }
    node_->events.clear();
    handled_ = 0;
  }

  // Posts one segment that the peer, if it lives, will refuse.
  void PushToNobody() {
    ++pushes_open_;
    node_->Do(PushSegment{PushId(++push_), peer_, GrantId(~uint64_t{0}), {0, 0, 0, 1}, BlockId(0)});
  }

  bool up() const { return up_; }
  bool down() const { return down_; }
  const std::string& down_reason() const { return down_reason_; }
  uint64_t rounds() const { return rounds_; }
  uint64_t pushes_open() const { return pushes_open_; }
  bool quiesced() const { return quiesced_ == grants_; }
  bool anything_rejected() const { return rejected_; }

 private:
  void On(const PeerUp& event) {
    up_ = true;
    peer_ = event.peer;
    if (pusher_) SendOffer();
  }
  void On(const PeerDown& event) {
    down_ = true;
    down_reason_ = event.reason;
    if (landing_open_) node_->Do(CloseLanding{GrantId(grants_)});
    landing_open_ = false;
  }
  void On(const PeerMessageReceived& event) {
    if (const auto* offer = std::get_if<Offer>(&event.message)) GrantAll(*offer);
    if (const auto* grant = std::get_if<Grant>(&event.message)) PushAll(*grant);
    if (std::holds_alternative<CommitAck>(event.message)) {
      ++rounds_;
      SendOffer();
    }
  }
  void On(const ChunkVerified& event) {
    node_->Do(
        SendPeerMessage{peer_, CommitAck{event.grant, event.first_block, event.num_blocks, {}}});
    node_->Do(CloseLanding{event.grant});
    landing_open_ = false;
    ++rounds_;
  }
  void On(const ChunkRejected&) { rejected_ = true; }
  void On(const Quiesced&) { ++quiesced_; }
  void On(const SegmentSent&) { --pushes_open_; }

  void SendOffer() {
    node_->Do(SendPeerMessage{peer_, Offer{Nonce{1, ++nonce_}, peer_, kTestBlocks}});
  }
  void GrantAll(const Offer& offer) {
    std::vector<BlockId> blocks;
    for (uint32_t i = 0; i < offer.num_blocks; ++i) blocks.push_back(BlockId(i));
    const GrantId grant(++grants_);
    node_->Do(OpenLanding{grant, peer_, 0, blocks});
    landing_open_ = true;
    node_->Do(SendPeerMessage{peer_, Grant{offer.nonce, grant, 0, {offer.num_blocks}}});
  }
  void PushAll(const Grant& grant) {
    std::vector<SegmentId> segments;
    for (uint16_t layer = 0; layer < kTestLayers; ++layer) {
      for (uint32_t block = 0; block < kTestBlocks; block += blocks_per_segment_) {
        const uint32_t count = std::min(blocks_per_segment_, kTestBlocks - block);
        segments.push_back({0, layer, block, count});
        ++pushes_open_;
        node_->Do(
            PushSegment{PushId(++push_), peer_, grant.grant, segments.back(), BlockId(block)});
      }
    }
    node_->Do(SendPeerMessage{peer_, Commit{grant.grant, 0, kTestBlocks, segments}});
  }

  EngineNode* const node_;
  const bool pusher_;
  const uint32_t blocks_per_segment_;
  size_t handled_ = 0;
  Incarnation peer_;
  bool up_ = false;
  bool down_ = false;
  bool landing_open_ = false;
  bool rejected_ = false;
  std::string down_reason_;
  uint64_t rounds_ = 0;
  uint64_t nonce_ = 0;
  uint64_t push_ = 0;
  uint64_t grants_;
  uint64_t quiesced_;
  uint64_t pushes_open_ = 0;
};

}  // namespace tandem
