// A peer process that dies or stops at awkward moments.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <cstdlib>
#include <fstream>
#include <random>

#include "common/base/check.h"
#include "common/transfer/auto/auto_transport.h"
#include "tests/common/transfer/peer_process.h"
#include "tests/common/transfer/pushing_core.h"

namespace tandem {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

constexpr size_t kBlockBytes = 98304;

class TwoProcessTest : public ::testing::Test {
 protected:
  void Start(const std::string& peer_mode, uint32_t blocks_per_segment = 8) {
    absl::StatusOr<std::unique_ptr<KvTransport>> transport =
        MakeAutoTransport(UcxNetwork::kLoopback);
    TANDEM_CHECK_MSG(transport.ok(), transport.status().message());
    node_ = std::make_unique<EngineNode>(*std::move(transport), TestOptions(kTestIncarnation),
                                         kBlockBytes);
    core_ = std::make_unique<PushingCore>(node_.get(), peer_mode == "land", blocks_per_segment);
    peer_ = std::make_unique<PeerProcess>(TANDEM_TRANSFER_PEER, peer_mode, kBlockBytes,
                                          blocks_per_segment, node_->address());
  }
  bool Run(const std::function<bool()>& done, Duration limit = std::chrono::seconds(20)) {
    const Instant deadline = SystemClock().Now() + limit;
    while (!done()) {
      if (SystemClock().Now() > deadline) return false;
      node_->Poll();
      core_->Step();
    }
    return true;
  }
  void RunFor(Duration span) {
    const Instant end = SystemClock().Now() + span;
    Run([end] { return SystemClock().Now() >= end; });
  }
  // The end of a peer, as the core must see it: down, every push terminal, every grant quiesced,
  // nothing in flight.
  void ExpectCleanEnd() {
    EXPECT_TRUE(Run([this] { return core_->down(); }));
    EXPECT_TRUE(Run([this] {
      return core_->pushes_open() == 0 && core_->quiesced() && node_->engine().num_in_flight() == 0;
    })) << core_->pushes_open()
        << " pushes open, in flight " << node_->engine().num_in_flight();
    EXPECT_EQ(node_->engine().counters().checksum_failures, 0u);
  }

  std::unique_ptr<EngineNode> node_;
  std::unique_ptr<PushingCore> core_;
  std::unique_ptr<PeerProcess> peer_;
};

TEST_F(TwoProcessTest, RoundsOfPushesAreVerified) {
  Start("push");
  ASSERT_TRUE(Run([this] { return core_->rounds() >= 5; }));
  EXPECT_FALSE(core_->anything_rejected());
}

// Without this the tests named after the host's own transport might run UCX unnoticed.
TEST_F(TwoProcessTest, ConnectsOverTheTransportThatItIsNamedAfter) {
  Start("push");
  ASSERT_TRUE(Run([this] { return core_->up(); }));
  const bool tcp = std::getenv("UCX_TLS") != nullptr;
  int ptrace_scope = 0;  // without Yama
  std::ifstream("/proc/sys/kernel/yama/ptrace_scope") >> ptrace_scope;
  // There UCX carries everything, as the README says.
  if (!tcp && ptrace_scope > 0) GTEST_SKIP() << "Yama: processes may not read each other's memory";
  EXPECT_THAT(node_->log, Contains(HasSubstr(tcp ? "over tcp/lo" : "over local/")));
}

class SenderKilled : public TwoProcessTest, public ::testing::WithParamInterface<int> {};

TEST_P(SenderKilled, LeavesNothingInFlight) {
  Start("push");
  const uint64_t target = static_cast<uint64_t>(GetParam()) * 8 * kBlockBytes;
  ASSERT_TRUE(Run([&] {
    const TransferCounters& counters = node_->engine().counters();
    return counters.bytes_received >= target && counters.in_flight > 0;
  }));
  peer_->Signal(SIGKILL);
  ExpectCleanEnd();
}

INSTANTIATE_TEST_SUITE_P(AfterSegments, SenderKilled,
                         ::testing::Values(0, 1, 2, 5, 11, 12, 13, 100));

TEST_F(TwoProcessTest, ReceiverKilledDuringAPushEndsAllPushes) {
  Start("land");
  ASSERT_TRUE(Run([this] { return core_->rounds() >= 1 && node_->engine().num_in_flight() > 0; }));
  peer_->Signal(SIGKILL);
  ExpectCleanEnd();
}

TEST_F(TwoProcessTest, StoppedReceiverIsEndedByTheProgressLimit) {
  Start("land");
  ASSERT_TRUE(Run([this] { return core_->rounds() >= 1; }));
  peer_->Signal(SIGSTOP);
  core_->PushToNobody();  // at least this segment is posted and never answered
  ExpectCleanEnd();
  EXPECT_THAT(core_->down_reason(), HasSubstr("no progress"));
  EXPECT_EQ(node_->engine().counters().stalled_peers, 1u);
  peer_->Signal(SIGCONT);  // the zombie wakes; its messages reach nobody
  RunFor(std::chrono::milliseconds(300));
  EXPECT_EQ(node_->engine().num_in_flight(), 0u);
}

class PeerGone : public TwoProcessTest, public ::testing::WithParamInterface<const char*> {};

TEST_P(PeerGone, BeforeItsFirstBytesAreReadDoesNoHarm) {
  Start(GetParam());
  peer_->AwaitExit();
  RunFor(std::chrono::milliseconds(500));
  if (core_->up()) ExpectCleanEnd();
}

INSTANTIATE_TEST_SUITE_P(By, PeerGone, ::testing::Values("vanish", "leave"));

TEST_F(TwoProcessTest, PeerKilledDuringWireUpNeverHurtsUs) {
  std::mt19937 random(1);
  for (int i = 0; i < 20; ++i) {
    Start(i % 2 == 0 ? "push" : "land");
    RunFor(std::chrono::microseconds(std::uniform_int_distribution<int>(0, 120'000)(random)));
    peer_->Signal(SIGKILL);
    RunFor(std::chrono::milliseconds(20));
    if (core_->up()) ExpectCleanEnd();
  }
}

}  // namespace
}  // namespace tandem
