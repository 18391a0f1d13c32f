// TiledAttention cuts a step's attention into tasks for threads. A tile is a few rows of one
// sequence at positions side by side; the keys and values of a block are read and widened once for
// a whole tile and all query heads of a KV head. When a step has few tiles and long contexts
// (decode of one sequence), the splits of attention_kernels.h become tasks of their own. Owned and
// used by one backend's thread.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/cpu/attention_kernels.h"
#include "kernels/parallel_for.h"
#include "kernels/step_state.h"

namespace tandem {

class TiledAttention {
 public:
  TiledAttention(ParallelFor* parallel, AttendSplitFunction attend)
      : parallel_(*parallel), attend_(attend) {}

  // Takes the shapes of a newly bound cache.
  void Bind(const StepState& step);
  // Cuts the step's rows into tiles, and decides how to share them out.
  void Plan(const StepState& step);
  // Attention of one layer, see Backend::Attention.
  void Run(const StepState& step, int layer, const float* q, float* out);

 private:
  struct Tile {
    int first_row = 0;
    int rows = 0;
    int first_position = 0;
    int splits = 0;
    int64_t first_state = 0;  // where its states start in states_, if splits are shared out
  };
  struct SplitTask {
    int tile = 0;
    int split = 0;
  };
  // What one call of attend_ computes.
  struct Part {
    const Tile* tile = nullptr;  // null: nothing
    int split = 0;
    int kv_head = 0;
  };

  AttentionTile Describe(const StepState& step, int layer, const Tile& tile, int kv_head,
                         const float* q) const;
  // The keys that a part begins with.
  KeysAhead FirstKeys(const StepState& step, int layer, const Part& part) const;
  // KV heads of one task, where `tasks` tiles or splits are there to share out and the largest one
  // is the `part`th part of all work. All of them where the threads then find enough to do: they
  // lie side by side in a block, so what the hardware fetches ahead of one head's part is the next
  // one's.
  int HeadsEach(int64_t tasks, double part, int kv_heads) const;
  // The task that a thread will probably do after `task`: threads take them in order, in turns.
  int LikelyNext(int task) const { return task + parallel_.num_threads(); }
  void RunTiles(const StepState& step, int layer, const float* q, float* out);
  void RunSplits(const StepState& step, int layer, const float* q, float* out);
  // The states of one (tile, KV head, split) in states_.
  float* SplitStates(const StepState& step, const Tile& tile, int kv_head, int split);

  ParallelFor& parallel_;
  const AttendSplitFunction attend_;
  int tile_rows_ = 1;
  int64_t tile_state_floats_ = 0;  // of the largest tile
  int64_t split_scratch_floats_ = 0;
  std::vector<std::vector<float>>
      scratch_;  // per thread: what a split needs, its states, and each head's sum of states
  std::vector<Tile> tiles_;
  std::vector<SplitTask> split_tasks_;  // empty: tiles are shared out
  int heads_each_ = 1;                  // KV heads of a task
  std::vector<float> states_;
};

}  // namespace tandem
