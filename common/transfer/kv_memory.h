// The memory that segments are read from and land in, as the transfer engine sees it: a KvArena
// behind one function, or a vector in a test. Plain data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "absl/types/span.h"
#include "common/base/ids.h"
#include "common/base/shareable_memory.h"

namespace tandem {

struct KvMemory {
  uint32_t num_layers = 0;
  uint32_t num_blocks = 0;
  size_t block_bytes = 0;  // of one layer: K, then V
  // One layer of blocks [first, first + count), `count * block_bytes` long. Called for blocks below
  // num_blocks only.
  std::function<absl::Span<std::byte>(uint32_t layer, BlockId first, uint32_t count)> run;
  // What all of it lies in, for peers of this host; may be none.
  SharedRegion shared = {};
};

}  // namespace tandem
