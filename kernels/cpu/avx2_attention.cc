#include "kernels/cpu/attention_loops.h"

namespace tandem::avx2 {

// Three queries with four sums each leave 4 of 16 registers for what they are multiplied with.
void AttendSplit(const AttentionTile& tile, int split, const KeysAhead& next, float* scratch,
                 float* states) {
  AttendSplitBy<Vector8, 3>(tile, split, next, scratch, states);
}

void MergeSplit(const AttentionTile& tile, int split, const float* states, float* total) {
  const int head_dim = tile.head_dim;
  const int state_floats = StateFloats(head_dim);
  const int first_row = FirstRowAt(tile, split * kSplitTokens);
  for (int s = first_row * tile.group; s < tile.rows * tile.group; ++s) {
    const float* part = states + s * state_floats;
    float* sum = total + s * state_floats;
    if (split == 0) {
      for (int i = 0; i < head_dim + 2; ++i) sum[i] = part[i];
      continue;
    }
    const float part_max = part[head_dim + 1], sum_max = sum[head_dim + 1];
    const float max = part_max > sum_max ? part_max : sum_max;
    const float part_weight = _mm256_cvtss_f32(Vector8::Exp(Vector8::Set(part_max - max)));
    const float sum_weight = _mm256_cvtss_f32(Vector8::Exp(Vector8::Set(sum_max - max)));
    for (int i = 0; i <= head_dim; ++i) sum[i] = sum[i] * sum_weight + part[i] * part_weight;
    sum[head_dim + 1] = max;
  }
}

void FinishTile(const AttentionTile& tile, const float* total, float* out) {
  const int state_floats = StateFloats(tile.head_dim);
  for (int row = 0; row < tile.rows; ++row) {
    for (int g = 0; g < tile.group; ++g) {
      const float* state = total + (row * tile.group + g) * state_floats;
      float* target = out + row * tile.q_stride + g * tile.head_dim;
      const float inverse = 1.0f / state[tile.head_dim];
      for (int i = 0; i < tile.head_dim; ++i) target[i] = state[i] * inverse;
    }
  }
}

}  // namespace tandem::avx2
