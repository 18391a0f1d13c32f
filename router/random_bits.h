// Random bits that nobody can predict, straight from the kernel: request ids must not repeat, and
// nonces are rights to write. Drawn in blocks, for a system call, or the processor's own
// instruction, takes as long as all else that a short request needs of this. Thread-safe.
#pragma once

#include <sys/random.h>

#include <array>
#include <cstddef>
#include <cstdint>

#include "common/base/check.h"

namespace tandem {

inline uint64_t RandomBits() {
  // 256 bytes is what the kernel gives whole, whatever signals come.
  thread_local std::array<uint64_t, 32> block;
  thread_local size_t left = 0;
  if (left == 0) {
    TANDEM_CHECK(getrandom(block.data(), sizeof block, 0) == sizeof block);
    left = block.size();
  }
  uint64_t& drawn = block[--left];
  const uint64_t bits = drawn;
  drawn = 0;  // what was used is nowhere kept
  return bits;
}

}  // namespace tandem
