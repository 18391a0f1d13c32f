// Peers that are killed while a connection is set up: 200 of them at a random instant in the first
// milliseconds. The receiver lives, and the next peer that stays is served.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <cstdio>
#include <random>

#include "common/base/check.h"
#include "common/transfer/auto/auto_transport.h"
#include "tests/common/transfer/peer_process.h"
#include "tests/common/transfer/pushing_core.h"

namespace tandem {
namespace {

constexpr int kKills = 200;
constexpr size_t kBlockBytes = 98304;
constexpr uint32_t kBlocksPerSegment = 8;
// More than one core gives.
constexpr uint64_t kGrantsOfACore = 1'000'000;

TEST(WireUpKillsTest, NoReceiverDiesAndAGoodPeerIsServedAfterwards) {
  absl::StatusOr<std::unique_ptr<KvTransport>> transport = MakeAutoTransport(UcxNetwork::kLoopback);
  TANDEM_CHECK_MSG(transport.ok(), transport.status().message());
  EngineNode node(*std::move(transport), TestOptions(kTestIncarnation), kBlockBytes);
  const auto run_until = [&](PushingCore* core, Instant end, const std::function<bool()>& done) {
    while (SystemClock().Now() < end && !done()) {
      node.Poll();
      core->Step();
    }
    return done();
  };
  const auto never = [] { return false; };
  std::mt19937 random(1);
  int connected = 0;
  for (int i = 0; i < kKills; ++i) {
    PushingCore core(&node, /*pusher=*/false, kBlocksPerSegment, i * kGrantsOfACore);
    PeerProcess peer(TANDEM_TRANSFER_PEER, "push", kBlockBytes, kBlocksPerSegment, node.address());
    // From its first call of UCX on: before that, its death is nothing to us.
    peer.AwaitReady();
    const auto after =
        std::chrono::microseconds(std::uniform_int_distribution<int>(0, 10'000)(random));
    run_until(&core, SystemClock().Now() + after, never);
    peer.Signal(SIGKILL);
    peer.AwaitExit();
    connected += core.up();
    const Instant limit = SystemClock().Now() + std::chrono::seconds(20);
    const auto ended = [&] { return !core.up() || core.down(); };
    ASSERT_TRUE(run_until(&core, limit, ended)) << i;
    ASSERT_TRUE(run_until(&core, limit, [&] { return node.engine().num_in_flight() == 0; })) << i;
  }
  std::printf("%d peers killed during set-up, %d of them after the handshake\n", kKills, connected);

  PushingCore core(&node, /*pusher=*/false, kBlocksPerSegment, kKills * kGrantsOfACore);
  PeerProcess good(TANDEM_TRANSFER_PEER, "push", kBlockBytes, kBlocksPerSegment, node.address());
  EXPECT_TRUE(run_until(&core, SystemClock().Now() + std::chrono::seconds(20),
                        [&] { return core.rounds() >= 3; }));
  EXPECT_FALSE(core.anything_rejected());
}

}  // namespace
}  // namespace tandem
