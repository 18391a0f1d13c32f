// Cuts a range of logical blocks into pieces that are contiguous in memory at both ends. A pure
// function.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "common/base/ids.h"

namespace tandem {

// Logical blocks [first_block, first_block + num_blocks), which lie at `source` and up in the
// sender's arena.
struct BlockPiece {
  uint32_t first_block = 0;
  uint32_t num_blocks = 0;
  BlockId source;

  friend bool operator==(const BlockPiece&, const BlockPiece&) = default;
};

// The receiver's contiguous runs, as a Grant states them.
struct ReceiverRuns {
  uint32_t first_block = 0;           // logical block where the first run begins
  std::vector<uint32_t> run_lengths;  // each at least 1
};

// Pieces of logical blocks [begin, end), in order. A piece ends where the sender's physical blocks
// are not consecutive, where a receiver's run ends, or at `max_blocks`. REQUIRES: [begin, end) lies
// within the receiver's runs; physical[i] holds logical block i; max_blocks > 0.
std::vector<BlockPiece> CutIntoPieces(uint32_t begin, uint32_t end,
                                      absl::Span<const BlockId> physical,
                                      const ReceiverRuns& receiver, uint32_t max_blocks);

}  // namespace tandem
