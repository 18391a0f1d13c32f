#include "kernels/cpu/tiled_attention.h"

#include <algorithm>

namespace tandem {
namespace {

// Rows of a tile: enough to pay for widening a block of keys and values, few enough that their
// states stay in L1.
constexpr int kTileRows = 8;
// With fewer tiles than this for each thread, splits are shared out too; with fewer of what is
// shared out, so are KV heads.
constexpr int kTilesPerThread = 4;
// Bounds the memory for shared-out splits, 64 MB; a step that needs more runs by tiles.
constexpr int64_t kMaxStateFloats = int64_t{16} << 20;

}  // namespace

void TiledAttention::Bind(const StepState& step) {
  const KvLayout& layout = step.cache().layout;
  const int head_dim = layout.head_dim;
  tile_rows_ = std::clamp(kMaxTileQueries / step.group_size(), 1, kTileRows);
  tile_state_floats_ = int64_t{tile_rows_} * step.group_size() * StateFloats(head_dim);
  split_scratch_floats_ = SplitScratchFloats(head_dim, tile_rows_, step.group_size());
  scratch_.resize(parallel_.num_threads());
  const int64_t floats = split_scratch_floats_ + (1 + layout.kv_heads) * tile_state_floats_;
  for (auto& scratch : scratch_) scratch.resize(floats);
}

void TiledAttention::Plan(const StepState& step) {
  tiles_.clear();
  split_tasks_.clear();
  for (int row = 0; row < step.rows(); ++row) {
    if (!tiles_.empty()) {
      Tile& last = tiles_.back();
      if (last.rows < tile_rows_ && step.sequence(row) == step.sequence(last.first_row) &&
          step.position(row) == last.first_position + last.rows) {
        ++last.rows;
        continue;
      }
    }
    tiles_.push_back({.first_row = row, .rows = 1, .first_position = step.position(row)});
  }
  const int kv_heads = step.cache().layout.kv_heads;
  int64_t state_floats = 0;
  int64_t num_splits = 0;
  int64_t largest = 0, all = 0;  // rows times splits, which is what a tile's time goes by
  for (Tile& tile : tiles_) {
    tile.splits = (tile.first_position + tile.rows - 1) / kSplitTokens + 1;
    tile.first_state = state_floats;
    num_splits += tile.splits;
    largest = std::max(largest, int64_t{tile.rows} * tile.splits);
    all += int64_t{tile.rows} * tile.splits;
    state_floats += int64_t{tile.splits} * kv_heads * tile.rows * step.group_size() *
                    StateFloats(step.cache().layout.head_dim);
  }
  const auto num_tiles = static_cast<int64_t>(tiles_.size());
  if (parallel_.num_threads() == 1 || num_splits == num_tiles ||
      num_tiles * kv_heads >= int64_t{kTilesPerThread} * parallel_.num_threads() ||
      state_floats > kMaxStateFloats) {
    heads_each_ = HeadsEach(num_tiles, static_cast<double>(all) / largest, kv_heads);
    return;
  }
  heads_each_ = HeadsEach(num_splits, num_splits, kv_heads);
  for (int tile = 0; tile < num_tiles; ++tile) {
    for (int split = 0; split < tiles_[tile].splits; ++split) {
      split_tasks_.push_back({tile, split});
    }
  }
  if (static_cast<int64_t>(states_.size()) < state_floats) states_.resize(state_floats);
}

void TiledAttention::Run(const StepState& step, int layer, const float* q, float* out) {
  if (split_tasks_.empty()) {
    RunTiles(step, layer, q, out);
  } else {
    RunSplits(step, layer, q, out);
  }
}

AttentionTile TiledAttention::Describe(const StepState& step, int layer, const Tile& tile,
                                       int kv_head, const float* q) const {
  const KvLayout& layout = step.cache().layout;
  return {.q = q + int64_t{tile.first_row} * step.query_dim() +
               int64_t{kv_head} * step.group_size() * layout.head_dim,
          .q_stride = step.query_dim(),
          .rows = tile.rows,
          .first_position = tile.first_position,
          .group = step.group_size(),
          .head_dim = layout.head_dim,
          .scale = step.config().scale,
          .half = layout.type == KvType::kF16,
          .keys = step.Keys(layer, 0, kv_head),
          .block_stride = layout.block_stride,
          .value_offset = layout.value_offset,
          .table = step.table(tile.first_row)};
}

KeysAhead TiledAttention::FirstKeys(const StepState& step, int layer, const Part& part) const {
  KeysAhead keys;
  if (part.tile == nullptr) return keys;
  const int first = part.split * (kSplitTokens / kKvBlockTokens);
  const int last = (part.tile->first_position + part.tile->rows - 1) / kKvBlockTokens;
  const uint32_t* const table = step.table(part.tile->first_row);
  for (int i = 0; i < kPiecesAhead && first + i <= last; ++i) {
    keys.piece[i] = step.Keys(layer, table[first + i], part.kv_head);
  }
  return keys;
}

int TiledAttention::HeadsEach(int64_t tasks, double part, int kv_heads) const {
  const int threads = parallel_.num_threads();
  const bool enough = tasks >= int64_t{kTilesPerThread} * threads && part >= threads;
  return threads == 1 || enough ? kv_heads : 1;
}

void TiledAttention::RunTiles(const StepState& step, int layer, const float* q, float* out) {
  const int kv_heads = step.cache().layout.kv_heads;
  const int num_tiles = static_cast<int>(tiles_.size());
  const int tasks_each = kv_heads / heads_each_;
  const int num_tasks = num_tiles * tasks_each;
  const auto begin_of = [&](int task) {
    if (task >= num_tasks) return Part();
    // Last tiles first: in a chunk they have the longest context, and a long task at the end would
    // leave threads idle.
    return Part{&tiles_[num_tiles - 1 - task / tasks_each], 0, task % tasks_each * heads_each_};
  };
  parallel_.Run(num_tasks, [&](int task, int thread) {
    const Tile& tile = *begin_of(task).tile;
    const int first_head = begin_of(task).kv_head;
    float* scratch = scratch_[thread].data();
    float* states = scratch + split_scratch_floats_;
    float* totals = states + tile_state_floats_;
    for (int split = 0; split < tile.splits; ++split) {
      for (int head = 0; head < heads_each_; ++head) {
        const auto view = Describe(step, layer, tile, first_head + head, q);
        const Part next = head + 1 < heads_each_    ? Part{&tile, split, first_head + head + 1}
                          : split + 1 < tile.splits ? Part{&tile, split + 1, first_head}
                                                    : begin_of(LikelyNext(task));
        attend_(view, split, FirstKeys(step, layer, next), scratch, states);
        avx2::MergeSplit(view, split, states, totals + head * tile_state_floats_);
      }
    }
    for (int head = 0; head < heads_each_; ++head) {
      const auto view = Describe(step, layer, tile, first_head + head, q);
      avx2::FinishTile(view, totals + head * tile_state_floats_, out + (view.q - q));
    }
  });
}

void TiledAttention::RunSplits(const StepState& step, int layer, const float* q, float* out) {
  const int kv_heads = step.cache().layout.kv_heads;
  const int num_splits = static_cast<int>(split_tasks_.size());
  const int tasks_each = kv_heads / heads_each_;
  const int num_tasks = num_splits * tasks_each;
  const auto begin_of = [&](int task) {
    if (task >= num_tasks) return Part();
    const SplitTask& item = split_tasks_[task / tasks_each];
    return Part{&tiles_[item.tile], item.split, task % tasks_each * heads_each_};
  };
  parallel_.Run(num_tasks, [&](int task, int thread) {
    Part part = begin_of(task);
    for (int left = heads_each_; left > 0; --left) {
      const Part next =
          left > 1 ? Part{part.tile, part.split, part.kv_head + 1} : begin_of(LikelyNext(task));
      attend_(Describe(step, layer, *part.tile, part.kv_head, q), part.split,
              FirstKeys(step, layer, next), scratch_[thread].data(),
              SplitStates(step, *part.tile, part.kv_head, part.split));
      part = next;
    }
  });
  for (const Tile& tile : tiles_) {
    for (int kv_head = 0; kv_head < kv_heads; ++kv_head) {
      const auto view = Describe(step, layer, tile, kv_head, q);
      float* total = scratch_[0].data() + split_scratch_floats_;
      for (int split = 0; split < tile.splits; ++split) {
        avx2::MergeSplit(view, split, SplitStates(step, tile, kv_head, split), total);
      }
      avx2::FinishTile(view, total, out + (view.q - q));
    }
  }
}

float* TiledAttention::SplitStates(const StepState& step, const Tile& tile, int kv_head,
                                   int split) {
  const int64_t each =
      int64_t{tile.rows} * step.group_size() * StateFloats(step.cache().layout.head_dim);
  return states_.data() + tile.first_state + (int64_t{kv_head} * tile.splits + split) * each;
}

}  // namespace tandem
