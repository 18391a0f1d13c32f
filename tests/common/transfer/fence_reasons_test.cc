// Each reason for which a message of a peer is dropped, produced once between two real engines.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/protocol/peer_wire.h"
#include "common/transfer/loopback/loopback_transport.h"
#include "tests/common/transfer/engine_node.h"

namespace tandem {
namespace {

using ::testing::Each;
using ::testing::Gt;

constexpr GrantId kGrant{7};

// Says what it is told to, without an engine's care.
class RawPeer : private TransportSink {
 public:
  RawPeer(std::shared_ptr<LoopbackHub> hub, const std::string& address, PeerMessage greeting)
      : transport_(std::move(hub)) {
    if (auto* hello = std::get_if<PeerHello>(&greeting))
      hello->reply_address = transport_.LocalAddress();
    conn_ = *transport_.Connect(address, EncodePeerMessage(greeting));
  }
  void Say(absl::string_view bytes) { (void)transport_.SendControl(conn_, bytes); }
  void Say(const PeerMessage& message) { Say(EncodePeerMessage(message)); }
  void Poll() { transport_.Poll(this); }

 private:
  void OnGreeting(ConnId, absl::string_view) override {}
  void OnControl(ConnId, absl::string_view) override {}
  std::optional<Placement> OnSegmentArriving(ConnId, absl::string_view, size_t) override {
    return std::nullopt;
  }
  void OnSegmentReceived(ConnId, SegmentToken, bool, absl::Span<const uint32_t>) override {}
  void OnSegmentSent(ConnId, SegmentToken, bool) override {}
  void OnConnectionDown(ConnId, absl::string_view) override {}

  LoopbackTransport transport_;
  ConnId conn_;
};

TEST(FenceReasonsTest, EachReasonIsCountedUnderItsName) {
  auto hub = std::make_shared<LoopbackHub>();
  EngineNode node(std::make_unique<LoopbackTransport>(hub), TestOptions(202));
  const auto meet = [&](PeerMessage greeting) {
    auto peer = std::make_unique<RawPeer>(hub, node.address(), std::move(greeting));
    for (int i = 0; i < 3; ++i) node.Poll(), peer->Poll();
    return peer;
  };
  const PeerHello hello{TestOptions(101).handshake, ""};

  auto good = meet(hello);
  good->Say(PeerHelloAck{hello.handshake, ""});          // unexpected
  good->Say(Offer{Nonce{1, 2}, Incarnation(77), 1});     // wrong_incarnation
  good->Say(Commit{GrantId(99), 0, 1, {{0, 0, 0, 1}}});  // unknown_grant
  node.Do(OpenLanding{kGrant, Incarnation(101), 0, {BlockId(20)}});
  const Commit commit{kGrant, 0, 1, {{0, 0, 0, 1}, {0, 1, 0, 1}, {0, 2, 0, 1}}};
  good->Say(commit);
  good->Say(commit);  // duplicate
  good->Say("?");     // malformed
  for (int i = 0; i < 3; ++i) node.Poll();

  PeerHello stranger{TestOptions(102).handshake, ""};
  stranger.handshake.kv.model_fingerprint = "model-b";
  meet(stranger);  // mismatch

  EXPECT_THAT(node.engine().counters().fenced_messages, Each(Gt(0u)));
}

}  // namespace
}  // namespace tandem
