// PrefixIndex: which physical block holds the KV of a prefix block. A lookup compares the parent
// and all 16 tokens, so neither a collision nor a forged name can give a wrong block. Part of
// KvCache; holds no references: blocks enter when published and leave when evicted.
#pragma once

#include <array>
#include <cstddef>
#include <optional>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"
#include "common/base/ids.h"
#include "common/kv/block_hash.h"
#include "common/kv/block_size.h"

namespace tandem {

class PrefixIndex {
 public:
  // None also when the name is taken by another content. REQUIRES: tokens.size() == kBlockTokens.
  std::optional<BlockId> Find(const PrefixLink& link, absl::Span<const TokenId> tokens) const;
  // True when some block, of whatever content, has this name.
  bool Contains(const BlockHash& hash) const { return entries_.contains(hash); }
  // REQUIRES: the name is not taken.
  void Insert(BlockId block, const PrefixLink& link, absl::Span<const TokenId> tokens);
  // REQUIRES: `block` has this name.
  void Erase(BlockId block, const BlockHash& hash);
  size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    BlockId block;
    BlockHash parent;
    std::array<TokenId, kBlockTokens> tokens;
  };
  absl::flat_hash_map<BlockHash, Entry> entries_;
};

}  // namespace tandem
