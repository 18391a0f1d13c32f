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
  // The same while the bytes are copied to `to`, past the caches if that is at a multiple of
  // kStreamAlignment: of the bytes that were written, even if `data` changes meanwhile.
  uint32_t (*copy)(uint32_t crc, const uint8_t* data, size_t size, uint8_t* to);
};

inline constexpr size_t kStreamAlignment = 64;

// Those that this processor and operating system can run, fastest first; the last is the table.
absl::Span<const Crc32cPath> SupportedCrc32cPaths();

// REQUIRES: SSE4.2.
uint32_t ExtendWithSse42(uint32_t crc, const uint8_t* data, size_t size);
uint32_t CopyWithSse42(uint32_t crc, const uint8_t* data, size_t size, uint8_t* to);

// Carry-less multiplication of 64-byte vectors. REQUIRES: HasAvx512Clmul().
uint32_t ExtendWithAvx512(uint32_t crc, const uint8_t* data, size_t size);
uint32_t CopyWithAvx512(uint32_t crc, const uint8_t* data, size_t size, uint8_t* to);
bool HasAvx512Clmul();

// The same of 32-byte vectors. REQUIRES: HasAvx2Clmul().
uint32_t ExtendWithAvx2(uint32_t crc, const uint8_t* data, size_t size);
uint32_t CopyWithAvx2(uint32_t crc, const uint8_t* data, size_t size, uint8_t* to);
bool HasAvx2Clmul();

}  // namespace tandem
