// The life of a KV block, as one table.
//
//   FREE ──▶ LANDING ──▶ READY ◀──▶ CACHED ──▶ FREE
//     │         └──▶ QUARANTINED ──▶ FREE
//     └────▶ FILLING ──▶ READY ──▶ FREE
//               └────────────────▶ FREE
//
// LANDING: a peer writes it. FILLING: the own runner writes it. READY: valid and held by leases.
// CACHED: valid, indexed, held by nobody. QUARANTINED: held by nobody, but a peer may still write
// it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/base/ids.h"

namespace tandem {

enum class BlockState : uint8_t { kFree, kLanding, kFilling, kReady, kCached, kQuarantined };
inline constexpr size_t kNumBlockStates = 6;

const char* BlockStateName(BlockState state);

constexpr bool MayBecome(BlockState from, BlockState to) {
  // Rows: from. Columns: to FREE, LANDING, FILLING, READY, CACHED, QUARANTINED.
  constexpr bool kTable[kNumBlockStates][kNumBlockStates] = {
      /* FREE        */ {false, true, true, false, false, false},
      /* LANDING     */ {false, false, false, true, false, true},
      /* FILLING     */ {true, false, false, true, false, false},
      /* READY       */ {true, false, false, false, true, false},
      /* CACHED      */ {true, false, false, true, false, false},
      /* QUARANTINED */ {true, false, false, false, false, false},
  };
  return kTable[static_cast<size_t>(from)][static_cast<size_t>(to)];
}

// The state of every block, and how many are in each. Part of BlockPool.
class BlockStates {
 public:
  // All blocks are FREE.
  explicit BlockStates(uint32_t num_blocks);

  // REQUIRES (CHECKed): MayBecome(at(block), to).
  void Become(BlockId block, BlockState to);

  BlockState at(BlockId block) const;
  uint32_t count(BlockState state) const { return counts_[static_cast<size_t>(state)]; }
  uint32_t size() const { return static_cast<uint32_t>(states_.size()); }

 private:
  std::vector<BlockState> states_;
  std::array<uint32_t, kNumBlockStates> counts_{};
};

}  // namespace tandem
