// CRC-32C (Castagnoli polynomial, as in iSCSI), of KV blocks on the wire. Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"

namespace tandem {

// `before`: the checksum of bytes that come before these; 0 without any.
uint32_t Crc32c(absl::Span<const std::byte> bytes, uint32_t before = 0);

// Copies and returns the checksum of what was written to `to`, also if `from` changes meanwhile.
// For memory that is not read again soon: the copy leaves no trace in the caches where it can.
// REQUIRES: equally long, no overlap.
uint32_t CopyWithCrc32c(absl::Span<const std::byte> from, absl::Span<std::byte> to);

}  // namespace tandem
