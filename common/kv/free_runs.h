// The set of free block ids, kept as maximal runs so that contiguous blocks are found in O(log n).
// Deterministic: the same calls give the same ids.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "common/base/ids.h"

namespace tandem {

class FreeRuns {
 public:
  // All of [0, num_blocks) is free.
  explicit FreeRuns(uint32_t num_blocks);

  uint32_t size() const { return size_; }

  // Removes `n` ids, in as few runs as it can: the smallest run that holds what is still wanted (so
  // long runs stay long), or else the longest. REQUIRES: n <= size().
  std::vector<BlockId> Take(uint32_t n);
  // REQUIRES: `block` is not in the set.
  void Add(BlockId block);

 private:
  using Run = std::pair<uint32_t, uint32_t>;
  void InsertRun(uint32_t first, uint32_t length);
  void EraseRun(uint32_t first, uint32_t length);

  std::map<uint32_t, uint32_t> by_first_;  // first id -> length; runs never touch
  std::set<Run> by_length_;                // (length, first id) of the same runs
  uint32_t size_ = 0;
};

}  // namespace tandem
