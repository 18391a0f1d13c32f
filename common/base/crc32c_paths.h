// The ways to compute CRC-32C that Crc32c() chooses from; for crc32c.cc and its test, callers want
// crc32c.h. Each takes and returns the raw state (the checksum's complement), any size and any
// alignment. Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace tandem {

struct Crc32cPath {
  absl::string_view name;
  uint32_t (*extend)(uint32_t crc, const uint8_t* data, size_t size);
};

// Those that this processor and operating system can run, fastest first; the last is the table.
absl::Span<const Crc32cPath> SupportedCrc32cPaths();

// REQUIRES: SSE4.2.
uint32_t ExtendWithSse42(uint32_t crc, const uint8_t* data, size_t size);

// Carry-less multiplication of 64-byte vectors. REQUIRES: HasAvx512Clmul().
uint32_t ExtendWithAvx512(uint32_t crc, const uint8_t* data, size_t size);
bool HasAvx512Clmul();

// The same of 32-byte vectors. REQUIRES: HasAvx2Clmul().
uint32_t ExtendWithAvx2(uint32_t crc, const uint8_t* data, size_t size);
bool HasAvx2Clmul();

}  // namespace tandem
