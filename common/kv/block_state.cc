#include "common/kv/block_state.h"

#include "absl/strings/str_cat.h"
#include "common/base/check.h"

namespace tandem {

const char* BlockStateName(BlockState state) {
  switch (state) {
    case BlockState::kFree:
      return "FREE";
    case BlockState::kLanding:
      return "LANDING";
    case BlockState::kFilling:
      return "FILLING";
    case BlockState::kReady:
      return "READY";
    case BlockState::kCached:
      return "CACHED";
    case BlockState::kQuarantined:
      return "QUARANTINED";
  }
  return "?";
}

BlockStates::BlockStates(uint32_t num_blocks) : states_(num_blocks, BlockState::kFree) {
  counts_[static_cast<size_t>(BlockState::kFree)] = num_blocks;
}

void BlockStates::Become(BlockId block, BlockState to) {
  const BlockState from = at(block);
  TANDEM_CHECK_MSG(MayBecome(from, to),
                   absl::StrCat("block ", block.value(), " may not go from ", BlockStateName(from),
                                " to ", BlockStateName(to)));
  --counts_[static_cast<size_t>(from)];
  ++counts_[static_cast<size_t>(to)];
  states_[block.value()] = to;
}

BlockState BlockStates::at(BlockId block) const {
  TANDEM_CHECK(block.value() < states_.size());
  return states_[block.value()];
}

}  // namespace tandem
