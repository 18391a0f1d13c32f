// Which of its two transports SameHostFirst uses for a peer.
#include "common/transfer/local/same_host_first.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/transfer/loopback/loopback_transport.h"
#include "tests/common/transfer/engine_node.h"

namespace tandem {
namespace {

using ::testing::IsEmpty;

// Ends every connection at its greeting.
class HangsUp final : public LoopbackTransport {
 public:
  using LoopbackTransport::LoopbackTransport;
  bool Poll(TransportSink*) override {
    Closer closer(this);
    return LoopbackTransport::Poll(&closer);
  }

 private:
  class Closer final : public TransportSink {
   public:
    explicit Closer(HangsUp* owner) : owner_(*owner) {}
    void OnGreeting(ConnId conn, absl::string_view) override { owner_.Close(conn); }
    void OnControl(ConnId, absl::string_view) override {}
    std::optional<Placement> OnSegmentArriving(ConnId, absl::string_view, size_t) override {
      return std::nullopt;
    }
    void OnSegmentReceived(ConnId, SegmentToken, bool, absl::Span<const uint32_t>) override {}
    void OnSegmentSent(ConnId, SegmentToken, bool) override {}
    void OnConnectionDown(ConnId, absl::string_view) override {}

   private:
    HangsUp& owner_;
  };
};

using Hub = std::shared_ptr<LoopbackHub>;

std::unique_ptr<EngineNode> Node(uint64_t id, std::unique_ptr<KvTransport> near, const Hub& far) {
  auto joined =
      std::make_unique<SameHostFirst>(std::move(near), std::make_unique<LoopbackTransport>(far));
  return std::make_unique<EngineNode>(std::move(joined), TestOptions(id));
}

// Connects `a` to `b` and pushes one block each way of the handshake.
void ExpectPushes(EngineNode& a, EngineNode& b) {
  a.Do(ConnectPeer{b.id, b.address()});
  ASSERT_TRUE(
      RunUntil(a, b, [&] { return !a.Events<PeerUp>().empty() && !b.Events<PeerUp>().empty(); }));
  const GrantId grant(7);
  b.Do(OpenLanding{grant, a.id, 0, {BlockId(5)}});
  a.Do(PushSegment{PushId(1), b.id, grant, {0, 0, 0, 1}, BlockId(2)});
  ASSERT_TRUE(RunUntil(a, b, [&] { return a.Events<SegmentSent>().size() == 1; }));
  EXPECT_TRUE(a.Events<SegmentSent>()[0].ok);
  EXPECT_EQ(a.memory.Block(0, BlockId(2)), b.memory.Block(0, BlockId(5)));
  EXPECT_THAT(a.Events<PeerDown>(), IsEmpty());
}

TEST(SameHostFirst, PeerOfThisHostIsReachedByTheNearTransport) {
  const auto near = std::make_shared<LoopbackHub>();
  // Far hubs of their own: nothing could pass there.
  const auto a =
      Node(1, std::make_unique<LoopbackTransport>(near), std::make_shared<LoopbackHub>());
  const auto b =
      Node(2, std::make_unique<LoopbackTransport>(near), std::make_shared<LoopbackHub>());
  ExpectPushes(*a, *b);
}

TEST(SameHostFirst, PeerElsewhereIsReachedByTheFarTransport) {
  const auto far = std::make_shared<LoopbackHub>();
  // A hub's ports are counted: the first one of the other hub has another number.
  const auto hub_of_b = std::make_shared<LoopbackHub>();
  const LoopbackTransport takes_the_first_port(hub_of_b);
  const auto a = Node(1, std::make_unique<LoopbackTransport>(std::make_shared<LoopbackHub>()), far);
  const auto b = Node(2, std::make_unique<LoopbackTransport>(hub_of_b), far);
  ExpectPushes(*a, *b);
}

TEST(SameHostFirst, NearConnectionThatEndsUnansweredGoesOnOverTheFarOne) {
  const auto near = std::make_shared<LoopbackHub>();
  const auto far = std::make_shared<LoopbackHub>();
  const auto a = Node(1, std::make_unique<LoopbackTransport>(near), far);
  const auto b = Node(2, std::make_unique<HangsUp>(near), far);
  ExpectPushes(*a, *b);
}

TEST(SameHostFirst, PeerThatEndsAfterItsAnswerIsDown) {
  const auto near = std::make_shared<LoopbackHub>();
  const auto far = std::make_shared<LoopbackHub>();
  const auto a = Node(1, std::make_unique<LoopbackTransport>(near), far);
  const auto b = Node(2, std::make_unique<LoopbackTransport>(near), far);
  ExpectPushes(*a, *b);
  b->Destroy();
  for (int i = 0; i < 100 && a->Events<PeerDown>().empty(); ++i) a->Poll();
  EXPECT_EQ(a->Events<PeerDown>().size(), 1u);
}

TEST(SameHostFirst, PeersWithoutANearTransportAndWithItPairBothWays) {
  const auto far = std::make_shared<LoopbackHub>();
  const auto alone = Node(1, nullptr, far);
  const auto both =
      Node(2, std::make_unique<LoopbackTransport>(std::make_shared<LoopbackHub>()), far);
  ExpectPushes(*alone, *both);
  const auto alone_too = Node(3, nullptr, far);
  const auto both_too =
      Node(4, std::make_unique<LoopbackTransport>(std::make_shared<LoopbackHub>()), far);
  ExpectPushes(*both_too, *alone_too);
}

TEST(SameHostFirst, AddressOfAFarTransportAloneIsUsedAsItIs) {
  const auto far = std::make_shared<LoopbackHub>();
  const auto joined =
      Node(1, std::make_unique<LoopbackTransport>(std::make_shared<LoopbackHub>()), far);
  EngineNode bare(std::make_unique<LoopbackTransport>(far), TestOptions(2));
  joined->Do(ConnectPeer{bare.id, bare.address()});
  for (int i = 0; i < 100 && bare.Events<PeerUp>().empty(); ++i) {
    joined->Poll();
    bare.Poll();
  }
  EXPECT_EQ(bare.Events<PeerUp>().size(), 1u);
}

TEST(SameHostFirst, BytesThatAreNoAddressAreRefused) {
  SameHostFirst joined(std::make_unique<LoopbackTransport>(std::make_shared<LoopbackHub>()),
                       std::make_unique<LoopbackTransport>(std::make_shared<LoopbackHub>()));
  for (const char* address : {"", "TDA", "TDA1", "TDA1\x20short"}) {
    EXPECT_EQ(joined.Connect(address, "hi").status().code(), absl::StatusCode::kInvalidArgument)
        << address;
  }
}

}  // namespace
}  // namespace tandem
