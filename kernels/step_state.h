// StepState: what BindKvCache and BeginStep tell a CPU backend, checked and copied, with the
// rotation angles of each row. Owned by one backend and used by its thread.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "kernels/backend.h"

namespace tandem {

class StepState {
 public:
  // See Backend::BindKvCache.
  absl::Status Bind(const KvCacheView& cache, const AttentionConfig& config);
  // See Backend::BeginStep. A batch that breaks its contract is our own bug and ends the program.
  void Begin(const StepBatch& batch);

  const KvCacheView& cache() const { return cache_; }
  const AttentionConfig& config() const { return config_; }
  int group_size() const { return config_.query_heads / cache_.layout.kv_heads; }
  int query_dim() const { return config_.query_heads * cache_.layout.head_dim; }
  int kv_dim() const { return cache_.layout.kv_heads * cache_.layout.head_dim; }

  int rows() const { return static_cast<int>(row_sequence_.size()); }
  int sequence(int row) const { return row_sequence_[row]; }
  int position(int row) const { return row_position_[row]; }
  // The physical blocks of the row's sequence.
  const uint32_t* table(int row) const { return blocks_.data() + table_begin_[row_sequence_[row]]; }
  // rope_dim floats: for each pair i, the cosine and the sine of position * theta^(-2i / rope_dim).
  const float* rotation(int row) const {
    return rotation_.data() + static_cast<int64_t>(row) * config_.rope_dim;
  }

  const std::byte* Keys(int layer, uint32_t block, int head) const {
    return cache_.base + cache_.layout.KeyOffset(layer, block, head, 0);
  }
  const std::byte* Values(int layer, uint32_t block, int head) const {
    return cache_.base + cache_.layout.ValueOffset(layer, block, head, 0);
  }
  // Where the row's own key and value of `head` go.
  std::byte* KeySlot(int layer, int row, int head) const;
  std::byte* ValueSlot(int layer, int row, int head) const;

 private:
  KvCacheView cache_;
  AttentionConfig config_;
  std::vector<float> inverse_frequency_;  // per pair

  std::vector<int32_t> row_sequence_;
  std::vector<int32_t> row_position_;
  std::vector<uint32_t> blocks_;
  std::vector<int32_t> table_begin_;
  std::vector<float> rotation_;
};

}  // namespace tandem
