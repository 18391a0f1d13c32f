#include "common/protocol/handshake.h"

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace tandem {
namespace {

template <class T>
absl::Status RequireEqual(const char* field, const T& ours, const T& theirs) {
  if (ours == theirs) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("handshake mismatch in ", field, ": ours '", ours, "', theirs '", theirs, "'"));
}

}  // namespace

const char* WorkerRoleName(WorkerRole role) {
  return role == WorkerRole::kPrefill ? "prefill" : "decode";
}

absl::Status CheckPairing(const Handshake& ours, const Handshake& theirs,
                          bool allow_mixed_numerics) {
  if (ours.wire_version < theirs.oldest_wire_version ||
      theirs.wire_version < ours.oldest_wire_version) {
    return RequireEqual("wire_version", ours.wire_version, theirs.wire_version);
  }
  const KvTerms& a = ours.kv;
  const KvTerms& b = theirs.kv;
  RETURN_IF_ERROR(RequireEqual("model_fingerprint", a.model_fingerprint, b.model_fingerprint));
  if (!allow_mixed_numerics) {
    RETURN_IF_ERROR(RequireEqual("numeric_profile", a.numeric_profile, b.numeric_profile));
  }
  RETURN_IF_ERROR(RequireEqual("block_tokens", a.block_tokens, b.block_tokens));
  RETURN_IF_ERROR(RequireEqual("num_layers", a.num_layers, b.num_layers));
  RETURN_IF_ERROR(RequireEqual("num_kv_heads", a.num_kv_heads, b.num_kv_heads));
  RETURN_IF_ERROR(RequireEqual("head_dim", a.head_dim, b.head_dim));
  RETURN_IF_ERROR(RequireEqual("kv_type", a.kv_type, b.kv_type));
  RETURN_IF_ERROR(RequireEqual("layout", a.layout, b.layout));
  return RequireEqual("checksum", a.checksum, b.checksum);
}

}  // namespace tandem
