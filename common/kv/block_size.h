// The arithmetic between tokens and KV blocks. Every count of blocks in Tandem comes from here.
#pragma once

#include <cstdint>

namespace tandem {

// Tokens in one KV block: the unit of paging, sharing and transfer.
inline constexpr uint32_t kBlockTokens = 16;

// Blocks that hold `tokens` tokens, the last one perhaps partly.
constexpr uint32_t BlocksCovering(uint32_t tokens) {
  return tokens / kBlockTokens + (tokens % kBlockTokens != 0 ? 1 : 0);
}

// Blocks that `tokens` tokens fill completely.
constexpr uint32_t FullBlocks(uint32_t tokens) { return tokens / kBlockTokens; }

// The most blocks that may come from a cache or a peer for a sequence of `tokens` tokens: its last
// token is always computed by the owner, which needs the logits after it, and the block of that
// token is private.
constexpr uint32_t SharableBlocks(uint32_t tokens) {
  return tokens == 0 ? 0 : (tokens - 1) / kBlockTokens;
}

}  // namespace tandem
