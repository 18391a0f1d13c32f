// Which CACHED block goes next when room is needed. Told of every block that enters or leaves the
// cached state; owned by the BlockPool; core thread.
#pragma once

#include <cstddef>

#include "common/base/ids.h"
#include "common/kv/block_hash.h"

namespace tandem {

class EvictionPolicy {
 public:
  virtual ~EvictionPolicy() = default;
  virtual void Add(BlockId block, const PrefixLink& link) = 0;
  virtual void Remove(BlockId block) = 0;
  // A block that was added and not removed; the pool removes it. REQUIRES: there is one.
  virtual BlockId Victim() const = 0;
};

}  // namespace tandem
