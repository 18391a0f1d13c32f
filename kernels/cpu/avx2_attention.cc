#include "kernels/cpu/avx2_kernels.h"
#include "kernels/cpu/avx2_math.h"

namespace tandem::avx2 {
namespace {

constexpr int kBlock = 16;  // tokens of a KV block
constexpr int kBlocksPerSplit = kSplitTokens / kBlock;
const float kMinusInfinity = -__builtin_inff();

void HalvesToFloats(const std::byte* in, int count, float* out) {
  for (int i = 0; i < count; i += 8) {
    _mm256_storeu_ps(
        out + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in + 2 * i))));
  }
}

// Lane t of the result: the sum of the lanes of v[t]. One fixed tree.
__m256 SumEach(const __m256* v) {
  const __m256 a = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
  const __m256 b = _mm256_hadd_ps(_mm256_hadd_ps(v[4], v[5]), _mm256_hadd_ps(v[6], v[7]));
  return _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
}

// q . key for 8 tokens side by side in memory.
inline __m256 DotEight(const float* q, const float* keys, int head_dim) {
  __m256 sum[8];
  for (int t = 0; t < 8; ++t) sum[t] = _mm256_setzero_ps();
  for (int i = 0; i < head_dim; i += 8) {
    const __m256 part = _mm256_loadu_ps(q + i);
#pragma GCC unroll 8
    for (int t = 0; t < 8; ++t) {
      sum[t] = _mm256_fmadd_ps(part, _mm256_loadu_ps(keys + t * head_dim + i), sum[t]);
    }
  }
  return SumEach(sum);
}

// Scores of one block's 16 tokens. What lies in the slots behind the first `tokens` may be
// anything, NaN included: their scores become minus infinity.
inline void ScoreBlock(const float* q, float scale, const float* keys, int head_dim, int tokens,
                       float* scores) {
  for (int half = 0; half < 2; ++half) {
    const __m256 dots = DotEight(q, keys + half * 8 * head_dim, head_dim);
    const __m256 scaled = _mm256_mul_ps(dots, _mm256_set1_ps(scale));
    _mm256_storeu_ps(scores + 8 * half,
                     _mm256_blendv_ps(_mm256_set1_ps(kMinusInfinity), scaled,
                                      _mm256_castsi256_ps(FirstLanes(tokens - 8 * half))));
  }
}

// Turns the scores of `tokens` tokens, padded to whole blocks with minus infinity, into weights
// e^(score - max).
void Soften(float* scores, int tokens, float* weight_sum, float* max) {
  __m256 largest = _mm256_set1_ps(kMinusInfinity);
  for (int t = 0; t < tokens; t += 8) largest = _mm256_max_ps(largest, _mm256_loadu_ps(scores + t));
  *max = HorizontalMax(largest);
  __m256 sum = _mm256_setzero_ps();
  for (int t = 0; t < tokens; t += 8) {
    const __m256 e = Exp(_mm256_sub_ps(_mm256_loadu_ps(scores + t), _mm256_set1_ps(*max)));
    const __m256 weights = _mm256_and_ps(e, _mm256_castsi256_ps(FirstLanes(tokens - t)));
    _mm256_storeu_ps(scores + t, weights);
    sum = _mm256_add_ps(sum, weights);
  }
  *weight_sum = HorizontalSum(sum);
}

// out += sum over tokens of weight * value, for kVectors * 8 of a head's elements.
template <int kVectors>
inline void AccumulateVectors(const float* values, int head_dim, const float* weights, int tokens,
                              float* out) {
  __m256 sum[kVectors];
#pragma GCC unroll 8
  for (int i = 0; i < kVectors; ++i) sum[i] = _mm256_loadu_ps(out + 8 * i);
  for (int t = 0; t < tokens; ++t) {
    const __m256 weight = _mm256_set1_ps(weights[t]);
#pragma GCC unroll 8
    for (int i = 0; i < kVectors; ++i) {
      sum[i] = _mm256_fmadd_ps(weight, _mm256_loadu_ps(values + t * head_dim + 8 * i), sum[i]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kVectors; ++i) _mm256_storeu_ps(out + 8 * i, sum[i]);
}

inline void AccumulateValues(const float* values, int head_dim, const float* weights, int tokens,
                             float* out) {
  int i = 0;
  for (; i + 64 <= head_dim; i += 64) {
    AccumulateVectors<8>(values + i, head_dim, weights, tokens, out + i);
  }
  for (; i < head_dim; i += 8) {
    AccumulateVectors<1>(values + i, head_dim, weights, tokens, out + i);
  }
}

// The first row of the tile whose position reaches `position`.
int FirstRowAt(const AttentionTile& tile, int position) {
  return position > tile.first_position ? position - tile.first_position : 0;
}

// Blocks lie apart in memory, so the hardware does not see the next one coming.
void Prefetch(const std::byte* stored, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += 64) {
    _mm_prefetch(reinterpret_cast<const char*>(stored + i), _MM_HINT_T0);
  }
}

// One block's keys or values as floats: in place if they are stored so, else widened into scratch.
const float* Widened(const AttentionTile& tile, const std::byte* stored, float* scratch) {
  if (!tile.half) return reinterpret_cast<const float*>(stored);
  HalvesToFloats(stored, kBlock * tile.head_dim, scratch);
  return scratch;
}

// kHeadDim 0 stands for any. A head_dim known to the compiler makes addresses constants, and
// changes nothing else.
template <int kHeadDim>
void AttendSplitOf(const AttentionTile& tile, int split, float* scratch, float* states) {
  const int head_dim = kHeadDim != 0 ? kHeadDim : tile.head_dim;
  const int state_floats = StateFloats(head_dim);
  const int first_token = split * kSplitTokens;
  const int first_row = FirstRowAt(tile, first_token);
  const int first_block = split * kBlocksPerSplit;
  const int last_position = tile.first_position + tile.rows - 1;
  int end_block = last_position / kBlock + 1;
  if (end_block > first_block + kBlocksPerSplit) end_block = first_block + kBlocksPerSplit;
  float* scores = scratch + kBlock * head_dim;  // [row and head][kSplitTokens]
  const int64_t block_bytes = int64_t{kBlock} * head_dim * (tile.half ? 2 : 4);
  const auto stored_keys = [&](int b) { return tile.keys + tile.table[b] * tile.block_stride; };

  for (int b = first_block; b < end_block; ++b) {
    const float* keys = Widened(tile, stored_keys(b), scratch);
    if (b + 1 < end_block) Prefetch(stored_keys(b + 1), block_bytes);
    for (int row = FirstRowAt(tile, b * kBlock); row < tile.rows; ++row) {
      const int visible = tile.first_position + row - b * kBlock + 1;
      for (int g = 0; g < tile.group; ++g) {
        ScoreBlock(tile.q + row * tile.q_stride + g * head_dim, tile.scale, keys, head_dim,
                   visible < kBlock ? visible : kBlock,
                   scores + (row * tile.group + g) * kSplitTokens + b * kBlock - first_token);
      }
    }
  }
  for (int row = first_row; row < tile.rows; ++row) {
    const int visible = tile.first_position + row - first_token + 1;
    for (int s = row * tile.group; s < (row + 1) * tile.group; ++s) {
      float* state = states + s * state_floats;
      Soften(scores + s * kSplitTokens, visible < kSplitTokens ? visible : kSplitTokens,
             state + head_dim, state + head_dim + 1);
      for (int i = 0; i < head_dim; ++i) state[i] = 0.0f;
    }
  }
  for (int b = first_block; b < end_block; ++b) {
    const float* values = Widened(tile, stored_keys(b) + tile.value_offset, scratch);
    if (b + 1 < end_block) Prefetch(stored_keys(b + 1) + tile.value_offset, block_bytes);
    for (int row = FirstRowAt(tile, b * kBlock); row < tile.rows; ++row) {
      const int visible = tile.first_position + row - b * kBlock + 1;
      for (int s = row * tile.group; s < (row + 1) * tile.group; ++s) {
        AccumulateValues(values, head_dim, scores + s * kSplitTokens + b * kBlock - first_token,
                         visible < kBlock ? visible : kBlock, states + s * state_floats);
      }
    }
  }
}

}  // namespace

void AttendSplit(const AttentionTile& tile, int split, float* scratch, float* states) {
  switch (tile.head_dim) {
    case 64:
      return AttendSplitOf<64>(tile, split, scratch, states);
    case 128:
      return AttendSplitOf<128>(tile, split, scratch, states);
    default:
      return AttendSplitOf<0>(tile, split, scratch, states);
  }
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
    const float part_weight = _mm256_cvtss_f32(Exp(_mm256_set1_ps(part_max - max)));
    const float sum_weight = _mm256_cvtss_f32(Exp(_mm256_set1_ps(sum_max - max)));
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
