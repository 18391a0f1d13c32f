#include "common/transfer/block_checksum.h"

#include <array>

#include "common/base/crc32c.h"

namespace tandem {

uint32_t BlockChecksum(const Nonce& nonce, const SegmentId& segment, uint32_t block,
                       uint32_t crc32c) {
  const uint64_t place[] = {nonce.high, nonce.low,
                            uint64_t{segment.shard} << 48 | uint64_t{segment.layer} << 32 | block};
  std::array<std::byte, sizeof(place)> place_bytes;
  for (size_t i = 0; i < place_bytes.size(); ++i) {
    place_bytes[i] = static_cast<std::byte>(place[i / 8] >> (8 * (i % 8)));
  }
  return Crc32c(place_bytes) ^ crc32c;
}

}  // namespace tandem
