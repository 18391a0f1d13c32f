// Bytes of a peer: decoding never misbehaves, and what it accepts is exactly what encoding writes.
#include "common/base/check.h"
#include "common/protocol/peer_wire.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (const auto message = tandem::DecodePeerMessage(bytes); message.ok()) {
    TANDEM_CHECK(tandem::EncodePeerMessage(*message) == bytes);
  }
  if (const auto header = tandem::DecodeSegmentHeader(bytes); header.ok()) {
    TANDEM_CHECK(tandem::EncodeSegmentHeader(*header) == bytes);
  }
  return 0;
}
