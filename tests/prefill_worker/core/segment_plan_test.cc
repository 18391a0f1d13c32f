#include "prefill_worker/core/segment_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tandem {
namespace {

using ::testing::ElementsAre;

std::vector<BlockId> Blocks(std::initializer_list<uint32_t> ids) {
  std::vector<BlockId> blocks;
  for (uint32_t id : ids) blocks.push_back(BlockId(id));
  return blocks;
}

TEST(CutIntoPiecesTest, OnePieceWhereBothEndsAreContiguous) {
  EXPECT_THAT(CutIntoPieces(0, 4, Blocks({7, 8, 9, 10}), {0, {4}}, 64),
              ElementsAre(BlockPiece{0, 4, BlockId(7)}));
}

TEST(CutIntoPiecesTest, CutsAtTheSendersGaps) {
  EXPECT_THAT(CutIntoPieces(0, 4, Blocks({7, 8, 20, 21}), {0, {4}}, 64),
              ElementsAre(BlockPiece{0, 2, BlockId(7)}, BlockPiece{2, 2, BlockId(20)}));
}

TEST(CutIntoPiecesTest, CutsAtTheReceiversRunsAlsoBeforeTheRange) {
  const ReceiverRuns runs{1, {2, 3}};
  EXPECT_THAT(CutIntoPieces(2, 6, Blocks({0, 1, 2, 3, 4, 5}), runs, 64),
              ElementsAre(BlockPiece{2, 1, BlockId(2)}, BlockPiece{3, 3, BlockId(3)}));
}

TEST(CutIntoPiecesTest, CutsAtTheLimit) {
  EXPECT_THAT(CutIntoPieces(0, 5, Blocks({0, 1, 2, 3, 4}), {0, {5}}, 2),
              ElementsAre(BlockPiece{0, 2, BlockId(0)}, BlockPiece{2, 2, BlockId(2)},
                          BlockPiece{4, 1, BlockId(4)}));
}

TEST(CutIntoPiecesTest, EmptyRangeHasNoPieces) {
  EXPECT_THAT(CutIntoPieces(3, 3, Blocks({0, 1, 2}), {0, {3}}, 2), ElementsAre());
}

}  // namespace
}  // namespace tandem
