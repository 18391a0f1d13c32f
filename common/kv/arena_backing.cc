#include "common/kv/arena_backing.h"

#include <algorithm>
#include <cstdint>

#include "common/base/time_slice.h"

namespace tandem {
namespace {

// Of one piece: a huge page, so that each is asked for once and a stop comes soon.
constexpr uintptr_t kPieceBytes = uintptr_t{2} << 20;

}  // namespace

ArenaBacking::ArenaBacking(KvArena* arena, size_t max_bytes)
    : arena_(*arena), max_bytes_(max_bytes), thread_("kv pages", [this] { Run(); }) {}

ArenaBacking::~ArenaBacking() { stop_ = true; }

void ArenaBacking::Run() {
  AskForDefaultSlices();
  const uint32_t layers = arena_.shape().num_layers;
  const uintptr_t size = arena_.Whole().size();
  const uintptr_t layer_bytes = arena_.strides().layer;
  size_t backed = 0;
  const auto back_piece = [&](uintptr_t piece) {
    backed += kPieceBytes;
    return !stop_ && backed <= max_bytes_ &&
           arena_.Back(piece, std::min(piece + kPieceBytes, size));
  };
  // The first blocks of all layers, then the next ones: as they are taken.
  for (uintptr_t offset = 0; offset < layer_bytes; offset += kPieceBytes) {
    for (uint32_t layer = 0; layer < layers; ++layer) {
      const uintptr_t first = layer * layer_bytes + offset;
      if (!back_piece(first / kPieceBytes * kPieceBytes)) return;
    }
  }
  // Layers do not end at pieces: what the last pieces of each left out.
  for (uint32_t layer = 1; layer <= layers; ++layer) {
    if (!back_piece((layer * layer_bytes - 1) / kPieceBytes * kPieceBytes)) return;
  }
}

}  // namespace tandem
