// The checksum of one KV block of one layer on the wire: CRC-32C of where it goes, then of its
// bytes. A segment whose header was damaged, and that would therefore land as other blocks, has the
// wrong checksum for them.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>

#include "absl/types/span.h"
#include "common/base/crc32c.h"
#include "common/base/ids.h"
#include "common/protocol/peer_messages.h"

namespace tandem {

// Of the block that is `index` blocks into the segment.
inline uint32_t BlockChecksum(GrantId grant, const SegmentId& segment, uint32_t index,
                              absl::Span<const std::byte> bytes) {
  std::array<std::byte, 16> place;
  const uint64_t words[2] = {grant.value(), uint64_t{segment.first_block + index} << 32 |
                                                uint64_t{segment.layer} << 16 |
                                                uint64_t{segment.shard}};
  for (size_t i = 0; i < place.size(); ++i) {
    place[i] = static_cast<std::byte>(words[i / 8] >> (8 * (i % 8)));
  }
  return Crc32c(bytes, Crc32c(place));
}

}  // namespace tandem
