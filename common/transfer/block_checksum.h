// What a segment's header says of each of its blocks, and what the receiver computes anew: the
// CRC-32C of the bytes together with that of the place they are meant for. A header whose grant,
// layer or block was changed on the way makes good bytes wrong for the place that it then names.
//
// The nonce stands for the grant: only who holds the right to write a landing can name it. Not
// against liars, who may compute any checksum. Pure function, any thread.
#pragma once

#include <cstdint>

#include "common/protocol/nonce.h"
#include "common/protocol/peer_messages.h"

namespace tandem {

// `block` is a logical block of the segment; `crc32c` is that of its K then V of the segment's
// layer.
uint32_t BlockChecksum(const Nonce& nonce, const SegmentId& segment, uint32_t block,
                       uint32_t crc32c);

}  // namespace tandem
