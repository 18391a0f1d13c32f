// WeightMemory hands out memory for packed weights from large chunks that the system is asked to
// back with huge pages. Decode reads every weight once for each token, and with small pages a
// quarter of that time went into translating addresses; a matrix by itself is often too small for a
// huge page. Used by one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace tandem {

class WeightMemory {
 public:
  // 64-byte aligned and zeroed. A chunk lives as long as any piece of it, also without this object.
  // Returns null when there is no memory. REQUIRES: size > 0.
  std::shared_ptr<std::byte> Allocate(int64_t size);

 private:
  std::shared_ptr<std::byte> chunk_;
  int64_t chunk_size_ = 0;
  int64_t used_ = 0;
};

}  // namespace tandem
