// CRC-32C (Castagnoli polynomial, as in iSCSI), of KV blocks on the wire. Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"

namespace tandem {

uint32_t Crc32c(absl::Span<const std::byte> bytes);

}  // namespace tandem
