#include "router/core/prefix_map.h"

#include <algorithm>

namespace tandem {

size_t PrefixMap::CountLeading(absl::Span<const BlockHash> chain) const {
  size_t count = 0;
  while (count < chain.size() && positions_.contains(chain[count])) ++count;
  return count;
}

void PrefixMap::Learn(absl::Span<const BlockHash> chain) {
  chain = chain.subspan(0, std::min(chain.size(), capacity_));
  // From the end, so that a chain's first blocks are the last to be dropped: a block is of no use
  // without those before it.
  for (size_t i = chain.size(); i-- > 0;) {
    auto it = positions_.find(chain[i]);
    if (it != positions_.end()) {
      order_.splice(order_.begin(), order_, it->second);
    } else {
      order_.push_front(chain[i]);
      positions_.emplace(chain[i], order_.begin());
    }
  }
  Trim();
}

void PrefixMap::Trim() {
  while (positions_.size() > capacity_) {
    positions_.erase(order_.back());
    order_.pop_back();
  }
}

void PrefixMap::Forget(absl::Span<const BlockHash> chain) {
  for (const BlockHash& block : chain) {
    auto it = positions_.find(block);
    if (it == positions_.end()) continue;
    order_.erase(it->second);
    positions_.erase(it);
  }
}

void PrefixMap::SetCapacity(size_t capacity) {
  capacity_ = capacity;
  Trim();
}

void PrefixMap::Clear() {
  positions_.clear();
  order_.clear();
}

}  // namespace tandem
