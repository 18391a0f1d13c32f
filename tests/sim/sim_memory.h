// SimMemory: the KV memory of one life of a worker. Every access is checked against the state of
// its block, which is how "one writer per block generation" is seen: the engine writes FILLING
// blocks and reads held ones, the transport writes LANDING or QUARANTINED blocks and reads held
// ones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "common/kv/block_pool.h"
#include "common/transfer/kv_memory.h"
#include "tests/sim/oracle.h"
#include "tests/sim/sim_model.h"

namespace tandem::sim {

class SimMemory {
 public:
  // `pool` is that of the same life; both it and the oracle outlive the memory.
  SimMemory(std::string owner, uint32_t num_layers, const BlockPool* pool, Oracle* oracle)
      : owner_(std::move(owner)),
        num_layers_(num_layers),
        pool_(pool),
        oracle_(oracle),
        bytes_(size_t{num_layers} * pool->num_blocks() * kBlockLayerBytes) {}

  uint32_t num_layers() const { return num_layers_; }

  KvMemory View() {
    return {num_layers_, pool_->num_blocks(), kBlockLayerBytes,
            [this](uint32_t layer, BlockId first, uint32_t count) {
              return absl::MakeSpan(bytes_).subspan(Offset(layer, first), count * kBlockLayerBytes);
            }};
  }

  // The engine's access: slot is the token's place in its block.
  uint64_t Read(uint32_t layer, BlockId block, uint32_t slot) const {
    RequireHeld(block, "the engine reads");
    uint64_t value = 0;
    std::memcpy(&value, At(layer, block, slot), sizeof(value));
    return value;
  }
  void Write(uint32_t layer, BlockId block, uint32_t slot, uint64_t value) {
    RequireState(block, pool_->state(block) == BlockState::kFilling, "the engine writes");
    std::memcpy(At(layer, block, slot), &value, sizeof(value));
  }

  // The transport's access to memory that it was given.
  void RequireLanding(absl::Span<const std::byte> memory) const {
    ForBlocks(memory, [this](BlockId block) {
      const BlockState state = pool_->state(block);
      RequireState(block, state == BlockState::kLanding || state == BlockState::kQuarantined,
                   "the transport writes");
    });
  }
  void RequireSource(absl::Span<const std::byte> memory) const {
    ForBlocks(memory, [this](BlockId block) { RequireHeld(block, "the transport reads"); });
  }

 private:
  size_t Offset(uint32_t layer, BlockId block) const {
    return (size_t{layer} * pool_->num_blocks() + block.value()) * kBlockLayerBytes;
  }
  std::byte* At(uint32_t layer, BlockId block, uint32_t slot) {
    return bytes_.data() + Offset(layer, block) + slot * kTokenLayerBytes;
  }
  const std::byte* At(uint32_t layer, BlockId block, uint32_t slot) const {
    return bytes_.data() + Offset(layer, block) + slot * kTokenLayerBytes;
  }
  template <class Check>
  void ForBlocks(absl::Span<const std::byte> memory, Check check) const {
    const size_t begin = static_cast<size_t>(memory.data() - bytes_.data()) / kBlockLayerBytes;
    for (size_t i = 0; i < (memory.size() + kBlockLayerBytes - 1) / kBlockLayerBytes; ++i) {
      check(BlockId(static_cast<uint32_t>((begin + i) % pool_->num_blocks())));
    }
  }
  void RequireHeld(BlockId block, const char* who) const {
    const BlockState state = pool_->state(block);
    RequireState(block, state == BlockState::kFilling || state == BlockState::kReady, who);
  }
  void RequireState(BlockId block, bool allowed, const char* who) const {
    if (allowed) return;
    oracle_->Fail(owner_, ": ", who, " block ", block.value(), " in state ",
                  BlockStateName(pool_->state(block)));
  }

  const std::string owner_;
  const uint32_t num_layers_;
  const BlockPool* const pool_;
  Oracle* const oracle_;
  std::vector<std::byte> bytes_;
};

}  // namespace tandem::sim
