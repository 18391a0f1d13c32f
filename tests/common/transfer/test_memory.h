// A small KV memory for transfer tests: [layer][block] in one piece, of huge pages where it is
// large as a worker's arena is, filled with a pattern that names its place.
#pragma once

#include <cstring>
#include <memory>

#include "common/base/shareable_memory.h"
#include "common/transfer/kv_memory.h"

namespace tandem {

class TestMemory {
 public:
  TestMemory(uint32_t layers, uint32_t blocks, size_t block_bytes)
      : layers_(layers),
        blocks_(blocks),
        block_bytes_(block_bytes),
        bytes_(layers * blocks * block_bytes),
        memory_(ShareableMemory::Create(bytes_).value()),
        base_(memory_->memory().data()) {
    constexpr size_t kPiece = size_t{2} << 20;
    for (size_t at = 0; at + kPiece <= bytes_; at += kPiece) memory_->Back(at, at + kPiece);
  }

  KvMemory View() {
    return KvMemory{layers_, blocks_, block_bytes_,
                    [this](uint32_t layer, BlockId first, uint32_t count) {
                      return absl::MakeSpan(base_ + Offset(layer, first), count * block_bytes_);
                    },
                    memory_->region()};
  }
  // Different bytes for each seed, layer, block and position.
  void Fill(uint64_t seed) {
    uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;
    for (size_t i = 0; i + 8 <= bytes_; i += 8) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      std::memcpy(base_ + i, &state, 8);
    }
  }
  absl::Span<std::byte> Block(uint32_t layer, BlockId block) {
    return absl::MakeSpan(base_ + Offset(layer, block), block_bytes_);
  }
  uint32_t layers() const { return layers_; }
  size_t block_bytes() const { return block_bytes_; }

 private:
  size_t Offset(uint32_t layer, BlockId block) const {
    return (size_t{layer} * blocks_ + block.value()) * block_bytes_;
  }

  const uint32_t layers_;
  const uint32_t blocks_;
  const size_t block_bytes_;
  const size_t bytes_;
  const std::unique_ptr<ShareableMemory> memory_;
  std::byte* const base_;
};

}  // namespace tandem
