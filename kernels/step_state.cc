#include "kernels/step_state.h"

#include <cmath>

#include "absl/strings/str_format.h"
#include "common/base/check.h"

namespace tandem {
namespace {

constexpr int kMaxHeadDim = 256;  // bounds the per-thread scratch of the attention kernels

absl::Status CheckLayout(const KvLayout& layout) {
  if (layout.block_tokens != kKvBlockTokens) {
    return absl::UnimplementedError(
        absl::StrFormat("KV blocks of %d tokens; only %d", layout.block_tokens, kKvBlockTokens));
  }
  if (layout.head_dim < 8 || layout.head_dim > kMaxHeadDim || layout.head_dim % 8 != 0) {
    return absl::UnimplementedError(absl::StrFormat(
        "head_dim %d; it must be a multiple of 8, at most %d", layout.head_dim, kMaxHeadDim));
  }
  const int64_t head_bytes =
      int64_t{layout.block_tokens} * layout.head_dim * KvTypeBytes(layout.type);
  const int64_t element = KvTypeBytes(layout.type);
  if (layout.layers < 1 || layout.blocks < 1 || layout.kv_heads < 1 ||
      layout.head_stride < head_bytes || layout.value_offset < head_bytes ||
      layout.head_stride % element != 0 || layout.value_offset % element != 0 ||
      layout.block_stride % element != 0 || layout.layer_stride % element != 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "KV layout contradicts itself: %d layers, %d blocks, %d heads, strides layer %d, block %d, "
        "value %d, head %d",
        layout.layers, layout.blocks, layout.kv_heads, layout.layer_stride, layout.block_stride,
        layout.value_offset, layout.head_stride));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status StepState::Bind(const KvCacheView& cache, const AttentionConfig& config) {
  if (absl::Status status = CheckLayout(cache.layout); !status.ok()) return status;
  if (cache.base == nullptr || reinterpret_cast<uintptr_t>(cache.base) % 64 != 0) {
    return absl::InvalidArgumentError("KV arena is null or not 64-byte aligned");
  }
  if (config.query_heads < 1 || config.query_heads % cache.layout.kv_heads != 0 ||
      config.rope_dim < 0 || config.rope_dim % 2 != 0 || config.rope_dim > cache.layout.head_dim ||
      !(config.rope_theta > 0) || !std::isfinite(config.rope_theta) ||
      !std::isfinite(config.scale)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "attention of %d query heads over %d KV heads, rope_dim %d of head_dim %d, theta %g, scale "
        "%g",
        config.query_heads, cache.layout.kv_heads, config.rope_dim, cache.layout.head_dim,
        config.rope_theta, config.scale));
  }
  cache_ = cache;
  config_ = config;
  inverse_frequency_.resize(config.rope_dim / 2);
  for (size_t i = 0; i < inverse_frequency_.size(); ++i) {
    inverse_frequency_[i] = static_cast<float>(std::pow(
        static_cast<double>(config.rope_theta), -2.0 * static_cast<double>(i) / config.rope_dim));
  }
  return absl::OkStatus();
}

void StepState::Begin(const StepBatch& batch) {
  TANDEM_CHECK_MSG(cache_.base != nullptr, "BeginStep before BindKvCache");
  TANDEM_CHECK(batch.row_sequence.size() == batch.row_position.size());
  TANDEM_CHECK(!batch.table_begin.empty());
  TANDEM_CHECK(batch.table_begin.front() >= 0);
  for (size_t s = 1; s < batch.table_begin.size(); ++s) {
    TANDEM_CHECK(batch.table_begin[s - 1] <= batch.table_begin[s]);
  }
  TANDEM_CHECK(batch.table_begin.back() <= static_cast<int64_t>(batch.blocks.size()));
  for (uint32_t block : batch.blocks) TANDEM_CHECK(block < cache_.layout.blocks);

  row_sequence_.assign(batch.row_sequence.begin(), batch.row_sequence.end());
  row_position_.assign(batch.row_position.begin(), batch.row_position.end());
  blocks_.assign(batch.blocks.begin(), batch.blocks.end());
  table_begin_.assign(batch.table_begin.begin(), batch.table_begin.end());
  rotation_.resize(row_sequence_.size() * config_.rope_dim);

  const int num_sequences = static_cast<int>(table_begin_.size()) - 1;
  float* rotation = rotation_.data();
  for (int row = 0; row < rows(); ++row) {
    const int s = row_sequence_[row];
    TANDEM_CHECK(s >= 0 && s < num_sequences);
    const int table_blocks = table_begin_[s + 1] - table_begin_[s];
    TANDEM_CHECK(row_position_[row] >= 0 && row_position_[row] / kKvBlockTokens < table_blocks);
    for (float frequency : inverse_frequency_) {
      const float angle = static_cast<float>(row_position_[row]) * frequency;
      *rotation++ = static_cast<float>(std::cos(static_cast<double>(angle)));
      *rotation++ = static_cast<float>(std::sin(static_cast<double>(angle)));
    }
  }
}

std::byte* StepState::KeySlot(int layer, int row, int head) const {
  const int position = row_position_[row];
  return cache_.base + cache_.layout.KeyOffset(layer, table(row)[position / kKvBlockTokens], head,
                                               position % kKvBlockTokens);
}

std::byte* StepState::ValueSlot(int layer, int row, int head) const {
  return KeySlot(layer, row, head) + cache_.layout.value_offset;
}

}  // namespace tandem
