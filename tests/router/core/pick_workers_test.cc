#include "router/core/pick_workers.h"

#include "gtest/gtest.h"

namespace tandem {
namespace {

WorkerIndex W(uint32_t i) { return WorkerIndex(i); }

TEST(PickDecodeTest, NoCandidatesGiveNobody) {
  EXPECT_FALSE(PickDecode(100, 7, {}, 0).has_value());
  EXPECT_FALSE(PickPrefill(100, {}, 0).has_value());
}

TEST(PickDecodeTest, LongPrefixHitBeatsALittleLoad) {
  const DecodeCandidate candidates[] = {{W(0), 0, 100, 0}, {W(1), 960, 100, 3}};
  EXPECT_EQ(PickDecode(1000, 10, candidates, 0), W(1));
}

TEST(PickDecodeTest, ShortPrefixHitDoesNotOutweighLoad) {
  const DecodeCandidate candidates[] = {{W(0), 0, 100, 0}, {W(1), 64, 100, 8}};
  EXPECT_EQ(PickDecode(100, 10, candidates, 0), W(0));
}

TEST(PickDecodeTest, WorkerWithoutRoomIsTheLastResort) {
  const DecodeCandidate candidates[] = {{W(0), 1000, 5, 0}, {W(1), 0, 100, 50}};
  EXPECT_EQ(PickDecode(1000, 10, candidates, 0), W(1));
  EXPECT_EQ(PickDecode(1000, 10, absl::MakeSpan(candidates, 1), 0), W(0));
}

TEST(PickDecodeTest, EqualWorkersAreSpreadByTieBreak) {
  const DecodeCandidate candidates[] = {{W(0), 0, 100, 0}, {W(1), 0, 100, 0}};
  EXPECT_EQ(PickDecode(10, 1, candidates, 2), W(0));
  EXPECT_EQ(PickDecode(10, 1, candidates, 3), W(1));
}

TEST(PickPrefillTest, CountsMissingTokensPlusTheLineBeforeThem) {
  const PrefillCandidate candidates[] = {{W(0), 0, 0}, {W(1), 800, 500}, {W(2), 900, 2000}};
  EXPECT_EQ(PickPrefill(1000, candidates, 0), W(1));  // 1000, 700, 2100
  EXPECT_EQ(PickPrefill(100, candidates, 0), W(0));
}

TEST(WorthPushingTest, NeedsEnoughMissingTokensAndAFullBlockAmongThem) {
  EXPECT_FALSE(WorthPushing(0, 0, 64));
  EXPECT_FALSE(WorthPushing(63, 0, 64));
  EXPECT_TRUE(WorthPushing(64, 0, 64));
  EXPECT_TRUE(WorthPushing(1000, 0, 64));
  EXPECT_TRUE(WorthPushing(1000, 936, 64));
  EXPECT_FALSE(WorthPushing(1000, 944, 64));
  EXPECT_FALSE(WorthPushing(16, 0, 0));  // the block of the last token is never pushed
  EXPECT_TRUE(WorthPushing(17, 0, 0));
  EXPECT_FALSE(WorthPushing(17, 16, 0));
}

}  // namespace
}  // namespace tandem
