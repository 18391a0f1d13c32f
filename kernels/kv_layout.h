// KvLayout says where each cached key and value lies inside a worker's KV arena. Plain data: it
// owns no memory.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tandem {

enum class KvType : uint8_t { kF32, kF16 };

inline int KvTypeBytes(KvType type) { return type == KvType::kF32 ? 4 : 2; }

// Tokens in one KV block: the unit of paging, of sharing, of transfer and of attention's reduction
// order.
inline constexpr int kKvBlockTokens = 16;

// The head_dim elements of (layer, block, K or V, head, token) lie side by side at
//   layer * layer_stride + block * block_stride + (V ? value_offset : 0) + head * head_stride
//     + token * head_dim * KvTypeBytes(type).
// Invariant: every offset is a multiple of 64 bytes as far as head_dim * KvTypeBytes(type) is.
struct KvLayout {
  int layers = 0;
  int64_t blocks = 0;  // physical blocks in the arena, per layer
  int block_tokens = kKvBlockTokens;
  int kv_heads = 0;
  int head_dim = 0;
  KvType type = KvType::kF16;
  int64_t layer_stride = 0;  // bytes
  int64_t block_stride = 0;  // bytes
  int64_t value_offset = 0;  // bytes from a block's keys to its values
  int64_t head_stride = 0;   // bytes

  // The default layout, [layer][block][K, V][kv_head][token][head_dim]: a run of blocks of one
  // layer is contiguous.
  static KvLayout LayerMajor(int layers, int64_t blocks, int kv_heads, int head_dim, KvType type) {
    KvLayout layout;
    layout.layers = layers;
    layout.blocks = blocks;
    layout.kv_heads = kv_heads;
    layout.head_dim = head_dim;
    layout.type = type;
    layout.head_stride = int64_t{kKvBlockTokens} * head_dim * KvTypeBytes(type);
    layout.value_offset = kv_heads * layout.head_stride;
    layout.block_stride = 2 * layout.value_offset;
    layout.layer_stride = blocks * layout.block_stride;
    return layout;
  }

  int64_t TotalBytes() const { return layers * layer_stride; }
  int64_t KeyOffset(int layer, int64_t block, int head, int token) const {
    return layer * layer_stride + block * block_stride + head * head_stride +
           int64_t{token} * head_dim * KvTypeBytes(type);
  }
  int64_t ValueOffset(int layer, int64_t block, int head, int token) const {
    return KeyOffset(layer, block, head, token) + value_offset;
  }
};

// A KV arena and its layout. `base` is memory that the backend can address, 64-byte aligned.
struct KvCacheView {
  std::byte* base = nullptr;
  KvLayout layout;
};

}  // namespace tandem
