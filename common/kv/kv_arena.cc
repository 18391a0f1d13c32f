#include "common/kv/kv_arena.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/kv/block_size.h"

namespace tandem {
namespace {

// Stays true while no product overflows.
class CheckedProduct {
 public:
  size_t Of(size_t a, size_t b) {
    size_t product = 0;
    if (__builtin_mul_overflow(a, b, &product)) ok_ = false;
    return product;
  }
  bool ok() const { return ok_; }

 private:
  bool ok_ = true;
};

}  // namespace

absl::StatusOr<std::unique_ptr<KvArena>> KvArena::Create(const KvArenaShape& shape,
                                                         bool shareable) {
  CheckedProduct product;
  KvArenaStrides strides;
  strides.head = product.Of(kBlockTokens * KvElementBytes(shape.element), shape.head_dim);
  strides.kv = product.Of(strides.head, shape.num_kv_heads);
  strides.block = product.Of(strides.kv, 2);
  strides.layer = product.Of(strides.block, shape.num_blocks);
  const size_t size = product.Of(strides.layer, shape.num_layers);
  if (!product.ok() || size == 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "KV arena of ", shape.num_layers, " layers, ", shape.num_blocks, " blocks, ",
        shape.num_kv_heads, " KV heads of ", shape.head_dim, " has no size that fits memory"));
  }
  // Huge pages: attention reads keys and values in pieces of a few KB all over the arena, and with
  // small pages finding each one costs as much as reading it.
  absl::StatusOr<std::unique_ptr<ShareableMemory>> memory =
      ShareableMemory::Create(size, shareable);
  if (!memory.ok()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no memory for a KV arena: ", memory.status().message()));
  }
  return std::unique_ptr<KvArena>(new KvArena(shape, strides, *std::move(memory)));
}

absl::Span<std::byte> KvArena::Run(uint32_t layer, BlockId first, uint32_t n) {
  return {base_ + RunOffset(layer, first, n), n * strides_.block};
}

absl::Span<const std::byte> KvArena::Run(uint32_t layer, BlockId first, uint32_t n) const {
  return {base_ + RunOffset(layer, first, n), n * strides_.block};
}

size_t KvArena::RunOffset(uint32_t layer, BlockId first, uint32_t n) const {
  TANDEM_CHECK(layer < shape_.num_layers);
  TANDEM_CHECK(n <= shape_.num_blocks && first.value() <= shape_.num_blocks - n);
  return layer * strides_.layer + first.value() * strides_.block;
}

}  // namespace tandem
