// CRC-32C (Castagnoli polynomial, as in iSCSI), of KV blocks on the wire. Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"

namespace tandem {

// `before`: the checksum of bytes that come before these; 0 without any.
uint32_t Crc32c(absl::Span<const std::byte> bytes, uint32_t before = 0);

}  // namespace tandem
