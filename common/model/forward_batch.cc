#include "common/model/forward_batch.h"

#include <utility>

#include "absl/algorithm/container.h"
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

std::vector<int32_t> ForwardBatch::DropSequences(absl::Span<const int32_t> sequences) {
  std::vector<int32_t> kept;
  std::vector<int32_t> kept_logit_rows;
  auto wanted = logit_rows.begin();
  for (int32_t row = 0; row < num_rows(); ++row) {
    const bool has_logits = wanted != logit_rows.end() && *wanted == row;
    if (has_logits) ++wanted;
    if (absl::c_linear_search(sequences, row_sequence[row])) continue;
    const auto place = static_cast<int32_t>(kept.size());
    tokens[place] = tokens[row];
    row_sequence[place] = row_sequence[row];
    row_position[place] = row_position[row];
    if (has_logits) kept_logit_rows.push_back(place);
    kept.push_back(row);
  }
  tokens.resize(kept.size());
  row_sequence.resize(kept.size());
  row_position.resize(kept.size());
  logit_rows = std::move(kept_logit_rows);
  return kept;
}

}  // namespace tandem
