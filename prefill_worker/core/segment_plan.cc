#include "prefill_worker/core/segment_plan.h"

#include "common/base/check.h"

namespace tandem {

std::vector<BlockPiece> CutIntoPieces(uint32_t begin, uint32_t end,
                                      absl::Span<const BlockId> physical,
                                      const ReceiverRuns& receiver, uint32_t max_blocks) {
  TANDEM_CHECK(max_blocks > 0 && end <= physical.size());
  std::vector<BlockPiece> pieces;
  size_t run = 0;
  uint32_t run_end = receiver.first_block;
  for (uint32_t block = begin; block < end; ++block) {
    bool receiver_breaks = false;
    while (block >= run_end) {
      TANDEM_CHECK(run < receiver.run_lengths.size());
      run_end += receiver.run_lengths[run++];
      receiver_breaks = true;
    }
    if (!pieces.empty() && !receiver_breaks) {
      BlockPiece& last = pieces.back();
      const bool consecutive = physical[block].value() == last.source.value() + last.num_blocks;
      if (consecutive && last.num_blocks < max_blocks) {
        ++last.num_blocks;
        continue;
      }
    }
    pieces.push_back({block, 1, physical[block]});
  }
  return pieces;
}

}  // namespace tandem
