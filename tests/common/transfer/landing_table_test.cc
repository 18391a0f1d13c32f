#include "common/transfer/landing_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/base/crc32c.h"
#include "common/transfer/block_checksum.h"
#include "tests/common/transfer/test_memory.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr GrantId kGrant{1};
constexpr Incarnation kPeer{10};
constexpr size_t kBytes = 64;

class LandingTableTest : public ::testing::Test {
 protected:
  LandingTableTest() : memory_(2, 16, kBytes), table_(memory_.View(), &events_, &counters_) {
    // Logical 3, 4 are side by side, 5 is elsewhere.
    table_.Open({kGrant, kPeer, 3, {BlockId(8), BlockId(9), BlockId(2)}});
  }
  SegmentHeader Header(SegmentId segment) {
    SegmentHeader header{kGrant, segment, {}};
    for (uint32_t i = 0; i < segment.num_blocks; ++i) {
      header.block_crc32c.push_back(BlockChecksum(Nonce{}, segment, segment.first_block + i,
                                                  Crc32c(std::vector<std::byte>(kBytes))));
    }
    return header;
  }
  std::optional<Placement> Place(SegmentId segment) {
    return table_.Place(kPeer, Header(segment), segment.num_blocks * kBytes);
  }
  void Land(SegmentId segment) {
    const auto placement = Place(segment);
    ASSERT_TRUE(placement.has_value());
    table_.Received(placement->token, true, {});
  }
  uint64_t Refused(SegmentRefusal why) const { return counters_[why]; }
  template <class Event>
  const Event* Last() const {
    return events_.empty() ? nullptr : std::get_if<Event>(&events_.back());
  }

  TestMemory memory_;
  std::vector<TransferEvent> events_;
  TransferCounters counters_;
  LandingTable table_;
};

TEST_F(LandingTableTest, LogicalBlocksGoToTheirPhysicalOnes) {
  const auto placement = Place({0, 1, 3, 2});
  ASSERT_TRUE(placement.has_value());
  EXPECT_EQ(placement->memory.data(), memory_.Block(1, BlockId(8)).data());
  EXPECT_EQ(placement->memory.size(), 2 * kBytes);
}

TEST_F(LandingTableTest, EachRefusalIsCountedByItsReason) {
  EXPECT_FALSE(table_.Place(kPeer, SegmentHeader{GrantId(2), {0, 0, 3, 1}, {0}}, kBytes));
  EXPECT_EQ(Refused(SegmentRefusal::kUnknownGrant), 1u);
  EXPECT_FALSE(table_.Place(Incarnation(11), Header({0, 0, 3, 1}), kBytes));
  EXPECT_EQ(Refused(SegmentRefusal::kWrongPeer), 1u);
  for (const SegmentId& bad :
       {SegmentId{1, 0, 3, 1}, SegmentId{0, 2, 3, 1}, SegmentId{0, 0, 2, 1}, SegmentId{0, 0, 6, 1},
        SegmentId{0, 0, 3, 4}, SegmentId{0, 0, 0xffffffff, 2}}) {
    EXPECT_FALSE(Place(bad));
  }
  EXPECT_EQ(Refused(SegmentRefusal::kOutOfRange), 6u);
  EXPECT_TRUE(Place({0, 0, 3, 1}));
  EXPECT_FALSE(Place({0, 0, 3, 2}));
  EXPECT_EQ(Refused(SegmentRefusal::kDuplicate), 1u);
  EXPECT_FALSE(Place({0, 1, 4, 2}));
  EXPECT_EQ(Refused(SegmentRefusal::kSplitRun), 1u);
  EXPECT_FALSE(table_.Place(kPeer, Header({0, 1, 3, 1}), kBytes - 1));
  EXPECT_EQ(Refused(SegmentRefusal::kWrongLength), 1u);
  EXPECT_EQ(table_.num_posted(), 1u);
}

TEST_F(LandingTableTest, CommitIsHeldUntilTheLastSegment) {
  Land({0, 0, 3, 2});
  table_.HandleCommit(kPeer, {kGrant, 3, 2, {{0, 0, 3, 2}, {0, 1, 3, 1}, {0, 1, 4, 1}}});
  Land({0, 1, 4, 1});
  EXPECT_THAT(events_, SizeIs(0));
  Land({0, 1, 3, 1});
  ASSERT_NE(Last<ChunkVerified>(), nullptr);
  EXPECT_EQ(Last<ChunkVerified>()->num_blocks, 2u);
  EXPECT_EQ(Last<ChunkVerified>()->bytes, 4 * kBytes);
}

TEST_F(LandingTableTest, CommitThatDoesNotCoverItsChunkExactlyOnceIsRejected) {
  const std::vector<std::vector<SegmentId>> wrong = {
      {{0, 0, 3, 1}},                              // a layer is missing
      {{0, 0, 3, 1}, {0, 0, 3, 1}},                // twice
      {{0, 0, 3, 1}, {0, 1, 3, 2}},                // beyond the chunk
      {{0, 0, 3, 1}, {0, 1, 3, 1}, {0, 7, 3, 1}},  // no such layer
  };
  for (size_t i = 0; i < wrong.size(); ++i) {
    const GrantId grant(100 + i);
    table_.Open({grant, kPeer, 3, {BlockId(8)}});
    table_.HandleCommit(kPeer, {grant, 3, 1, wrong[i]});
    ASSERT_NE(Last<ChunkRejected>(), nullptr) << i;
    EXPECT_EQ(Last<ChunkRejected>()->bad, wrong[i]);
  }
  table_.HandleCommit(kPeer, {kGrant, 2, 2, {}});
  EXPECT_THAT(Last<ChunkRejected>()->reason, HasSubstr("not within the grant"));
  EXPECT_EQ(counters_.chunks_rejected, 5u);
}

TEST_F(LandingTableTest, WrongChecksumRejectsTheCommitAndNamesTheSegment) {
  SegmentHeader header = Header({0, 0, 3, 2});
  header.block_crc32c[1] ^= 1;
  const auto placement = table_.Place(kPeer, header, 2 * kBytes);
  table_.HandleCommit(kPeer, {kGrant, 3, 2, {{0, 0, 3, 2}, {0, 1, 3, 2}}});
  table_.Received(placement->token, true, {});
  Land({0, 1, 3, 2});
  ASSERT_NE(Last<ChunkRejected>(), nullptr);
  EXPECT_THAT(Last<ChunkRejected>()->bad, ElementsAre(SegmentId{0, 0, 3, 2}));
}

TEST_F(LandingTableTest, FailedReceiveRejectsTheCommit) {
  const auto placement = Place({0, 0, 3, 1});
  Land({0, 1, 3, 1});
  table_.HandleCommit(kPeer, {kGrant, 3, 1, {{0, 0, 3, 1}, {0, 1, 3, 1}}});
  table_.Received(placement->token, false, {});
  EXPECT_NE(Last<ChunkRejected>(), nullptr);
}

TEST_F(LandingTableTest, SecondCommitOfTheSameBlocksIsDropped) {
  Land({0, 0, 5, 1});
  Land({0, 1, 5, 1});
  const Commit commit{kGrant, 5, 1, {{0, 0, 5, 1}, {0, 1, 5, 1}}};
  table_.HandleCommit(kPeer, commit);
  table_.HandleCommit(kPeer, commit);
  EXPECT_THAT(events_, SizeIs(1));
  EXPECT_EQ(counters_[FenceReason::kDuplicate], 1u);
}

TEST_F(LandingTableTest, CommitOfAnotherPeerIsDropped) {
  table_.HandleCommit(Incarnation(11), {kGrant, 3, 1, {}});
  EXPECT_THAT(events_, SizeIs(0));
  EXPECT_EQ(counters_[FenceReason::kUnknownGrant], 1u);
}

TEST_F(LandingTableTest, QuiescedOnlyWhenTheLastPostedReceiveHasEnded) {
  const auto first = Place({0, 0, 3, 1});
  const auto second = Place({0, 1, 3, 1});
  table_.Close(kGrant);
  EXPECT_FALSE(Place({0, 0, 4, 1}));  // refused at once
  table_.Received(first->token, true, {});
  EXPECT_THAT(events_, SizeIs(0));
  table_.Received(second->token, false, {});
  ASSERT_NE(Last<Quiesced>(), nullptr);
  EXPECT_EQ(Last<Quiesced>()->grant, kGrant);
}

TEST_F(LandingTableTest, CloseAnswersAtOnceWhenNothingIsPostedOrKnown) {
  table_.Close(kGrant);
  table_.Close(GrantId(55));
  EXPECT_THAT(events_, SizeIs(2));
}

TEST_F(LandingTableTest, EndedPeerWritesNothingMore) {
  table_.RefusePeer(kPeer);
  EXPECT_FALSE(Place({0, 0, 3, 1}));
}

// Its bytes arrive whole, under a header that was changed on the way.
TEST_F(LandingTableTest, GoodBytesInAnotherPlaceAreBad) {
  SegmentHeader header = Header({0, 0, 3, 1});
  header.segment.first_block = 4;
  const auto placement = table_.Place(kPeer, header, kBytes);
  ASSERT_TRUE(placement.has_value());
  table_.Received(placement->token, true, {});
  Land({0, 1, 4, 1});
  table_.HandleCommit(kPeer, Commit{kGrant, 4, 1, {{0, 0, 4, 1}, {0, 1, 4, 1}}});
  ASSERT_NE(Last<ChunkRejected>(), nullptr);
  EXPECT_EQ(counters_.checksum_failures, 1u);
}

TEST_F(LandingTableTest, ChecksumsThatTheTransportSawDecideAndTheMemoryIsNotReadAgain) {
  const uint32_t good = Crc32c(std::vector<std::byte>(kBytes));
  for (const bool intact : {true, false}) {
    const SegmentId segment{0, 0, intact ? 3u : 4u, 1};
    const auto placement = Place(segment);
    ASSERT_TRUE(placement.has_value());
    EXPECT_EQ(placement->piece_bytes, kBytes);
    placement->memory[0] = std::byte{1};
    const uint32_t seen = intact ? good : good + 1;
    table_.Received(placement->token, true, {&seen, 1});
    EXPECT_EQ(counters_.checksum_failures, intact ? 0u : 1u);
  }
}

}  // namespace
}  // namespace tandem
