// The name of a prefix block: a keyed 128-bit hash of everything its KV depends on, chained from
// block to block.
//
//   root     = H(cache salt, model fingerprint, numeric profile)
//   block i  = H(block i-1 or root, its 16 tokens)
//
// H is SipHash-2-4-128 under a secret that all members of a cluster share, so that nobody outside
// can aim at another tenant's names. Not for: proving equality; whoever relies on a hit compares
// the tokens.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/base/ids.h"

namespace tandem {

struct BlockHash {
  uint64_t high = 0;
  uint64_t low = 0;

  std::string ToHex() const;

  friend auto operator<=>(const BlockHash&, const BlockHash&) = default;
  template <class H>
  friend H AbslHashValue(H h, const BlockHash& b) {
    return H::combine(std::move(h), b.high, b.low);
  }
};

// The cluster's secret.
using HashSecret = std::array<uint8_t, 16>;

// A block's place in the chain of prefixes.
struct PrefixLink {
  BlockHash hash;
  BlockHash parent;  // of block 0: the root

  friend bool operator==(const PrefixLink&, const PrefixLink&) = default;
};

BlockHash HashRoot(const HashSecret& secret, absl::string_view cache_salt,
                   absl::string_view model_fingerprint, absl::string_view numeric_profile);

// REQUIRES: tokens.size() == kBlockTokens.
BlockHash HashBlock(const HashSecret& secret, const BlockHash& parent,
                    absl::Span<const TokenId> tokens);

// The names of all full blocks of `tokens`, in order.
std::vector<BlockHash> HashBlocks(const HashSecret& secret, const BlockHash& root,
                                  absl::Span<const TokenId> tokens);

}  // namespace tandem
