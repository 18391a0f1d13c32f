// ForwardBatch: the rows of one pass over the layers, from one or several sequences, in the flat
// form that backends take. Plain data with its own way to grow; thread-compatible.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "common/base/ids.h"

namespace tandem {

// Invariant: a row is one token of one sequence at one position; sequence s owns
// blocks[table_begin[s] .. table_begin[s + 1]), which covers all its positions.
struct ForwardBatch {
  std::vector<TokenId> tokens;        // by row
  std::vector<int32_t> row_sequence;  // by row
  std::vector<int32_t> row_position;  // by row
  std::vector<uint32_t> blocks;
  std::vector<int32_t> table_begin = {0};
  std::vector<int32_t> logit_rows;  // rows whose logits are wanted, rising

  int num_rows() const { return static_cast<int>(tokens.size()); }

  // Adds the tokens at positions [start, start + tokens.size()) of one more sequence and returns
  // its first row. REQUIRES: tokens is not empty, block_table covers them.
  int AddSequence(uint32_t start, absl::Span<const TokenId> tokens,
                  absl::Span<const BlockId> block_table);
  // Takes all rows of these sequences out; their tables stay, so that the others keep their index.
  // Returns the rows that are left, by their number before.
  std::vector<int32_t> DropSequences(absl::Span<const int32_t> sequences);
};

}  // namespace tandem
