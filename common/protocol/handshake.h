// What two parties must agree on before they exchange anything: carried by every handshake (router
// session and worker pair). Plain data and one pure function.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "common/base/ids.h"

namespace tandem {

// The wire version this build speaks, and the oldest it still understands.
inline constexpr uint32_t kWireVersion = 1;
inline constexpr uint32_t kOldestWireVersion = 1;

enum class WorkerRole : uint8_t { kPrefill = 1, kDecode = 2 };
const char* WorkerRoleName(WorkerRole role);

// How KV blocks are shaped and checked. Two workers that exchange blocks must agree on all of it.
struct KvTerms {
  std::string model_fingerprint;  // of the weights and their metadata
  std::string
      numeric_profile;  // backend, instruction set, KV type: equal profiles compute equal bits
  uint32_t block_tokens = 16;
  uint32_t num_layers = 0;
  uint32_t num_kv_heads = 0;
  uint32_t head_dim = 0;
  std::string kv_type;  // "f16", "f32"
  std::string layout;   // "layer,block,kv,head,token,dim"
  std::string checksum = "crc32c-placed";

  friend bool operator==(const KvTerms&, const KvTerms&) = default;
};

struct Handshake {
  uint32_t wire_version = kWireVersion;
  uint32_t oldest_wire_version = kOldestWireVersion;
  Incarnation incarnation;
  KvTerms kv;
};

// OK when blocks may travel between the two; otherwise FAILED_PRECONDITION naming the first field
// that differs and both values. `allow_mixed_numerics` lets different numeric profiles pair,
// without the exactness promise.
absl::Status CheckPairing(const Handshake& ours, const Handshake& theirs,
                          bool allow_mixed_numerics = false);

}  // namespace tandem
