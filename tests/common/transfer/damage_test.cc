// Many thousands of faults between two real transfer engines: whatever the wire does to a chunk, it
// is reported as landed only when the bytes at its place are the sender's. "damage_test FAULTS".
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "common/transfer/fault/fault_transport.h"
#include "common/transfer/loopback/loopback_transport.h"
#include "tests/common/transfer/engine_node.h"

namespace tandem {
namespace {

uint64_t wanted_faults = 4000;

constexpr size_t kBlockBytes = 1024;
constexpr uint32_t kChunks = 3;       // of a grant
constexpr uint32_t kChunkBlocks = 2;  // each its own segment
constexpr uint32_t kFirstLanding = 16;
constexpr auto kMs = std::chrono::milliseconds(1);

class DamageTest : public ::testing::Test {
 protected:
  // Grants, pushes and commits over a wire with `rules` until it has done `wanted_faults`.
  void RunWith(const std::vector<FaultRule>& rules) {
    uint64_t seed = 0;
    while (faults_ < wanted_faults) {
      Connect(rules, ++seed);
      const uint64_t before = faults_;
      while (peer_is_up() && before + fault_->faults_injected() < wanted_faults) PushGrant();
      faults_ = before + fault_->faults_injected();
      checksum_failures_ += receiver_->engine().counters().checksum_failures;
    }
    std::printf(
        "%llu faults over %llu grants and %llu connections: %llu chunks landed, all right; "
        "%llu rejected, %llu blocks with a wrong checksum\n",
        U(faults_), U(grants_), U(seed), U(landed_), U(rejected_), U(checksum_failures_));
    EXPECT_GT(landed_, 0u);
  }

 private:
  static unsigned long long U(uint64_t n) { return n; }

  void Connect(const std::vector<FaultRule>& rules, uint64_t seed) {
    auto hub = std::make_shared<LoopbackHub>();
    auto fault =
        std::make_unique<FaultTransport>(std::make_unique<LoopbackTransport>(hub), rules, seed);
    fault_ = fault.get();
    sender_ = std::make_unique<EngineNode>(std::move(fault), TestOptions(101), kBlockBytes);
    receiver_ = std::make_unique<EngineNode>(std::make_unique<LoopbackTransport>(hub),
                                             TestOptions(202), kBlockBytes);
    sender_->Do(ConnectPeer{receiver_->id, receiver_->address()}, clock_.Now());
    Poll(5);
    ASSERT_TRUE(peer_is_up());
  }
  bool peer_is_up() const {
    return sender_->engine().counters().peers_up > sender_->engine().counters().peers_down;
  }
  void Poll(int times) {
    for (int i = 0; i < times; ++i) {
      sender_->Poll(clock_.Now());
      receiver_->Poll(clock_.Now());
      clock_.Advance(kMs);
    }
  }

  void PushGrant() {
    sender_->memory.Fill(++grants_);
    receiver_->memory.Fill(~grants_);
    const GrantId grant(grants_);
    std::vector<BlockId> blocks;
    for (uint32_t i = 0; i < kChunks * kChunkBlocks; ++i)
      blocks.push_back(BlockId(kFirstLanding + i));
    receiver_->Do(OpenLanding{grant, sender_->id, 0, blocks}, clock_.Now());
    for (uint32_t chunk = 0; chunk < kChunks; ++chunk) {
      Commit commit{grant, chunk * kChunkBlocks, kChunkBlocks, {}};
      for (uint16_t layer = 0; layer < kTestLayers; ++layer) {
        for (uint32_t block = commit.first_block; block < commit.first_block + kChunkBlocks;
             ++block) {
          commit.segments.push_back({0, layer, block, 1});
          sender_->Do(PushSegment{PushId(++pushes_), receiver_->id, grant, commit.segments.back(),
                                  BlockId(block)},
                      clock_.Now());
        }
      }
      sender_->Do(SendPeerMessage{receiver_->id, std::move(commit)}, clock_.Now());
    }
    Poll(14);
    CheckLanded(grant);
    receiver_->Do(CloseLanding{grant}, clock_.Now());
    Poll(4);
    sender_->events.clear();
    receiver_->events.clear();
    sender_->log.clear();
    receiver_->log.clear();
  }

  void CheckLanded(GrantId grant) {
    rejected_ += receiver_->Events<ChunkRejected>().size();
    for (const ChunkVerified& chunk : receiver_->Events<ChunkVerified>()) {
      ASSERT_EQ(chunk.grant, grant);
      ASSERT_LE(chunk.first_block + chunk.num_blocks, kChunks * kChunkBlocks);
      ++landed_;
      for (uint32_t layer = 0; layer < kTestLayers; ++layer) {
        for (uint32_t i = chunk.first_block; i < chunk.first_block + chunk.num_blocks; ++i) {
          const auto theirs = receiver_->memory.Block(layer, BlockId(kFirstLanding + i));
          const auto ours = sender_->memory.Block(layer, BlockId(i));
          ASSERT_TRUE(std::equal(ours.begin(), ours.end(), theirs.begin()))
              << "grant " << grant.value() << " layer " << layer << " block " << i;
        }
      }
    }
  }

  FakeClock clock_;
  FaultTransport* fault_ = nullptr;
  std::unique_ptr<EngineNode> sender_;
  std::unique_ptr<EngineNode> receiver_;
  uint64_t pushes_ = 0, grants_ = 0, faults_ = 0, landed_ = 0, rejected_ = 0,
           checksum_failures_ = 0;
};

FaultRule Segments(FaultAction action, double probability) {
  return {FaultRule::Target::kSegment, action, 0, probability, 7};
}
FaultRule Messages(FaultAction action, double probability) {
  return {FaultRule::Target::kControl, action, 0, probability, 7};
}

TEST_F(DamageTest, FlippedCutDoubledAndReorderedSegmentsAreNeverTakenForWhatWasSent) {
  RunWith({Segments(FaultAction::kFlipBit, 0.05), Segments(FaultAction::kTruncate, 0.05),
           Segments(FaultAction::kDuplicate, 0.1), Segments(FaultAction::kReorder, 0.1),
           Segments(FaultAction::kDelay, 0.05), Messages(FaultAction::kDuplicate, 0.1),
           Messages(FaultAction::kReorder, 0.1), Messages(FaultAction::kDelay, 0.1)});
}

TEST_F(DamageTest, SegmentWithADamagedHeaderIsNeverTakenForAnotherOne) {
  RunWith({Segments(FaultAction::kFlipHeader, 0.1), Segments(FaultAction::kReorder, 0.05)});
}

TEST_F(DamageTest, DamagedMessagesNeverMakeWrongBlocksLand) {
  RunWith({Messages(FaultAction::kFlipBit, 0.3), Messages(FaultAction::kTruncate, 0.02),
           Segments(FaultAction::kDelay, 0.1)});
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) {
  ::testing::InitGoogleMock(&argc, argv);
  if (argc > 1) tandem::wanted_faults = std::strtoull(argv[1], nullptr, 10);
  return RUN_ALL_TESTS();
}
