// PrefixMap remembers which prompt blocks one worker probably holds: what was routed there, newest
// kept. It is a guess that only steers routing; the worker's own index decides.
// Thread-compatible: owned by RouterCore. At `capacity` blocks the least recently used one is
// dropped.
#pragma once

#include <cstddef>
#include <list>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"
#include "common/kv/block_hash.h"

namespace tandem {

class PrefixMap {
 public:
  explicit PrefixMap(size_t capacity) : capacity_(capacity) {}

  // How many leading blocks of the chain are held. Does not count as a use.
  size_t CountLeading(absl::Span<const BlockHash> chain) const;
  // Marks the whole chain as held and recently used.
  void Learn(absl::Span<const BlockHash> chain);
  void Forget(absl::Span<const BlockHash> chain);
  void Clear();
  // Drops the least recently used ones beyond it.
  void SetCapacity(size_t capacity);
  size_t size() const { return positions_.size(); }

 private:
  void Trim();

  using Order = std::list<BlockHash>;  // most recently used first

  size_t capacity_;
  Order order_;
  absl::flat_hash_map<BlockHash, Order::iterator> positions_;
};

}  // namespace tandem
