// KvArena: the memory of a worker's KV blocks, in one allocation that a transport can register
// whole. Owned by the program's shell; the core sees block ids only. Immutable after Create; who
// may write which block when is decided by the leases of BlockPool, not here.
//
// Layout, dense: [layer][block][K, V][kv_head][16 tokens][head_dim]. A run of blocks of one layer
// is one contiguous piece; the K (or V) of one head of a block is one slice.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/base/ids.h"
#include "common/base/shareable_memory.h"

namespace tandem {

enum class KvElement : uint8_t { kF16, kF32 };
constexpr size_t KvElementBytes(KvElement e) { return e == KvElement::kF16 ? 2 : 4; }

struct KvArenaShape {
  uint32_t num_layers = 0;
  uint32_t num_blocks = 0;
  uint32_t num_kv_heads = 0;
  uint32_t head_dim = 0;
  KvElement element = KvElement::kF16;
};

// Bytes from one to the next.
struct KvArenaStrides {
  size_t layer = 0;
  size_t block = 0;  // also the bytes of one block in one layer
  size_t kv = 0;     // from a block's K to its V
  size_t head = 0;
};

class KvArena {
 public:
  // Page-aligned and zero; pages are backed when first touched. INVALID_ARGUMENT for an empty or
  // overflowing shape, RESOURCE_EXHAUSTED when there is no address space for it.
  // `shareable`: other processes of this host may be let to map it, if huge pages allow.
  static absl::StatusOr<std::unique_ptr<KvArena>> Create(const KvArenaShape& shape,
                                                         bool shareable = false);
  KvArena(const KvArena&) = delete;
  KvArena& operator=(const KvArena&) = delete;

  const KvArenaShape& shape() const { return shape_; }
  const KvArenaStrides& strides() const { return strides_; }
  size_t bytes_per_block_layer() const { return strides_.block; }

  // Everything, for registration and for the compute backend.
  absl::Span<std::byte> Whole() { return memory_->memory(); }
  // Gives bytes [begin, end) of it their pages, see ShareableMemory. Any thread.
  bool Back(size_t begin, size_t end) { return memory_->Back(begin, end); }
  // For transports that reach other processes of this host.
  SharedRegion shared() const { return memory_->region(); }
  // Blocks [first, first + n) of one layer. REQUIRES: they exist.
  absl::Span<std::byte> Run(uint32_t layer, BlockId first, uint32_t n);
  absl::Span<const std::byte> Run(uint32_t layer, BlockId first, uint32_t n) const;

 private:
  KvArena(const KvArenaShape& shape, const KvArenaStrides& strides,
          std::unique_ptr<ShareableMemory> memory)
      : shape_(shape), strides_(strides), memory_(std::move(memory)), base_(Whole().data()) {}
  size_t RunOffset(uint32_t layer, BlockId first, uint32_t n) const;

  KvArenaShape shape_;
  KvArenaStrides strides_;
  const std::unique_ptr<ShareableMemory> memory_;
  std::byte* const base_;
};

}  // namespace tandem
