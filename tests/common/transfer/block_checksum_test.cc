#include "common/transfer/block_checksum.h"

#include <gtest/gtest.h>

#include <vector>

#include "common/base/crc32c.h"

namespace tandem {
namespace {

TEST(BlockChecksumTest, DiffersForAnotherPlaceAndForOtherBytes) {
  std::vector<std::byte> bytes(64, std::byte{7});
  const Nonce nonce{1, 2};
  const SegmentId segment{0, 3, 4, 2};
  const uint32_t checksum = BlockChecksum(nonce, segment, 4, Crc32c(bytes));
  EXPECT_EQ(BlockChecksum(nonce, {0, 3, 0, 8}, 4, Crc32c(bytes)), checksum);  // however it is cut
  EXPECT_NE(BlockChecksum({1, 3}, segment, 4, Crc32c(bytes)), checksum);
  EXPECT_NE(BlockChecksum({0, 2}, segment, 4, Crc32c(bytes)), checksum);
  EXPECT_NE(BlockChecksum(nonce, {1, 3, 4, 2}, 4, Crc32c(bytes)), checksum);
  EXPECT_NE(BlockChecksum(nonce, {0, 2, 4, 2}, 4, Crc32c(bytes)), checksum);
  EXPECT_NE(BlockChecksum(nonce, segment, 5, Crc32c(bytes)), checksum);
  bytes[63] ^= std::byte{1};
  EXPECT_NE(BlockChecksum(nonce, segment, 4, Crc32c(bytes)), checksum);
}

}  // namespace
}  // namespace tandem
