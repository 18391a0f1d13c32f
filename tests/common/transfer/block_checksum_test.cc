#include "common/transfer/block_checksum.h"

#include <gtest/gtest.h>

#include <vector>

namespace tandem {
namespace {

TEST(BlockChecksumTest, DiffersForAnotherPlaceAndForOtherBytes) {
  std::vector<std::byte> bytes(64, std::byte{7});
  const Nonce nonce{1, 2};
  const SegmentId segment{0, 3, 4, 2};
  const uint32_t checksum = BlockChecksum(nonce, segment, 4, bytes);
  EXPECT_EQ(BlockChecksum(nonce, {0, 3, 0, 8}, 4, bytes), checksum);  // however it is cut
  EXPECT_NE(BlockChecksum({1, 3}, segment, 4, bytes), checksum);
  EXPECT_NE(BlockChecksum({0, 2}, segment, 4, bytes), checksum);
  EXPECT_NE(BlockChecksum(nonce, {1, 3, 4, 2}, 4, bytes), checksum);
  EXPECT_NE(BlockChecksum(nonce, {0, 2, 4, 2}, 4, bytes), checksum);
  EXPECT_NE(BlockChecksum(nonce, segment, 5, bytes), checksum);
  bytes[63] ^= std::byte{1};
  EXPECT_NE(BlockChecksum(nonce, segment, 4, bytes), checksum);
}

}  // namespace
}  // namespace tandem
