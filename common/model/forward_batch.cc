#include "common/model/forward_batch.h"

#include "common/base/check.h"
#include "common/kv/block_size.h"

namespace tandem {

int ForwardBatch::AddSequence(uint32_t start, absl::Span<const TokenId> new_tokens,
                              absl::Span<const BlockId> block_table) {
  TANDEM_CHECK(!new_tokens.empty());
  TANDEM_CHECK_MSG(BlocksCovering(start + new_tokens.size()) <= block_table.size(),
                   "the block table does not cover the tokens of the step");
  const int first_row = num_rows();
  const int32_t sequence = static_cast<int32_t>(table_begin.size()) - 1;
  for (size_t i = 0; i < new_tokens.size(); ++i) {
    tokens.push_back(new_tokens[i]);
    row_sequence.push_back(sequence);
    row_position.push_back(static_cast<int32_t>(start + i));
  }
  for (const BlockId block : block_table) blocks.push_back(block.value());
  table_begin.push_back(static_cast<int32_t>(blocks.size()));
  return first_row;
}

}  // namespace tandem
