// What all prefix hashes of one worker start from: the cluster's secret and the worker's own terms.
// Two workers with equal roots name equal blocks equally.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "common/kv/block_hash.h"
#include "common/kv/prefix_chain.h"
#include "common/protocol/handshake.h"

namespace tandem {

struct PrefixRoot {
  HashSecret secret{};
  std::string model_fingerprint;
  std::string numeric_profile;

  // An empty chain for a sequence of the tenant that `cache_salt` stands for.
  PrefixChain NewChain(absl::string_view cache_salt) const {
    return PrefixChain(secret, HashRoot(secret, cache_salt, model_fingerprint, numeric_profile));
  }
};

}  // namespace tandem
