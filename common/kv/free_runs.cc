#include "common/kv/free_runs.h"

#include <algorithm>
#include <iterator>

#include "common/base/check.h"

namespace tandem {

FreeRuns::FreeRuns(uint32_t num_blocks) : size_(num_blocks) {
  if (num_blocks > 0) InsertRun(0, num_blocks);
}

std::vector<BlockId> FreeRuns::Take(uint32_t n) {
  TANDEM_CHECK(n <= size_);
  size_ -= n;
  std::vector<BlockId> taken;
  taken.reserve(n);
  while (n > 0) {
    auto best = by_length_.lower_bound({n, 0});
    if (best == by_length_.end()) {
      // The first of the longest ones.
      best = by_length_.lower_bound({by_length_.rbegin()->first, 0});
    }
    const auto [length, first] = *best;
    const uint32_t used = std::min(n, length);
    EraseRun(first, length);
    if (used < length) InsertRun(first + used, length - used);
    for (uint32_t i = 0; i < used; ++i) taken.push_back(BlockId(first + i));
    n -= used;
  }
  return taken;
}

void FreeRuns::Add(BlockId block) {
  uint32_t first = block.value();
  uint32_t length = 1;
  auto next = by_first_.upper_bound(first);
  if (next != by_first_.begin()) {
    const auto [before, before_length] = *std::prev(next);
    TANDEM_CHECK(before + before_length <= first);
    if (before + before_length == first) {
      EraseRun(before, before_length);
      first = before;
      length += before_length;
    }
  }
  if (next != by_first_.end() && next->first == block.value() + 1) {
    const auto [after, after_length] = *next;
    EraseRun(after, after_length);
    length += after_length;
  }
  InsertRun(first, length);
  ++size_;
}

void FreeRuns::InsertRun(uint32_t first, uint32_t length) {
  by_first_.emplace(first, length);
  by_length_.emplace(length, first);
}

void FreeRuns::EraseRun(uint32_t first, uint32_t length) {
  by_first_.erase(first);
  by_length_.erase({length, first});
}

}  // namespace tandem
