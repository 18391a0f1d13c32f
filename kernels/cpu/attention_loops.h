// AttendSplit for vectors of any width (Vector8, Vector16). attention_kernels.h has the order of
// operations, which no choice here may change.
//
// Everything is in an unnamed namespace: the header is compiled for several instruction sets, and
// the linker must not merge those copies.
#pragma once

#include "kernels/cpu/attention_kernels.h"
#include "kernels/cpu/row_tiles.h"
#include "kernels/cpu/vector8.h"

namespace tandem {
namespace {

inline constexpr int kBlock = 16;  // tokens of a KV block
inline constexpr int kBlocksPerSplit = kSplitTokens / kBlock;
inline const float kMinusInfinity = -__builtin_inff();
// With fewer queries for a block than this, its keys are used as they lie; transposing them pays
// from here on.
inline constexpr int kTransposeFrom = 5;

// The first row of the tile whose position reaches `position`.
inline int FirstRowAt(const AttentionTile& tile, int position) {
  return position > tile.first_position ? position - tile.first_position : 0;
}

// How many of block b's tokens `row` sees.
inline int Visible(const AttentionTile& tile, int row, int b) {
  const int tokens = tile.first_position + row - b * kBlock + 1;
  return tokens < kBlock ? tokens : kBlock;
}

// Asks for a part of a piece, see KeysAhead. The L2 cache is near enough: asking for L1 was slower.
// Always inlined: for GCC 12 a prefetch is no effect, so it drops calls of a function that does
// nothing else.
[[gnu::always_inline]] inline void Prefetch(const std::byte* piece, int64_t offset, int64_t bytes) {
  if (piece == nullptr) return;
  for (int64_t i = offset; i < offset + bytes; i += 64) {
    _mm_prefetch(reinterpret_cast<const char*>(piece + i), _MM_HINT_T1);
  }
}

// Cached keys or values as they lie: halves or floats.
struct Halves {
  explicit Halves(const std::byte* stored) : data(stored) {}
  static constexpr int kBytes = 2;
  const std::byte* data;
  template <class V>
  typename V::F Load(int element) const {
    return V::LoadHalves(data + 2 * element);
  }
};
struct Floats {
  static constexpr int kBytes = 4;
  const float* data;
  explicit Floats(const std::byte* stored) : data(reinterpret_cast<const float*>(stored)) {}
  explicit Floats(const float* widened) : data(widened) {}
  template <class V>
  typename V::F Load(int element) const {
    return V::Load(data + element);
  }
};

// out[d][token] = the block's keys, so that lanes are tokens.
template <class Stored>
inline void Transpose(const Stored& keys, int head_dim, float* out) {
  for (int first = 0; first < kBlock; first += 8) {
    for (int d = 0; d < head_dim; d += 8) {
      __m256 a[8], b[8];
#pragma GCC unroll 8
      for (int t = 0; t < 8; ++t) {
        a[t] = keys.template Load<Vector8>((first + t) * head_dim + d);
      }
#pragma GCC unroll 4
      for (int t = 0; t < 8; t += 2) {
        b[t] = _mm256_unpacklo_ps(a[t], a[t + 1]);
        b[t + 1] = _mm256_unpackhi_ps(a[t], a[t + 1]);
      }
#pragma GCC unroll 2
      for (int t = 0; t < 8; t += 4) {
        a[t] = _mm256_shuffle_ps(b[t], b[t + 2], 0x44);
        a[t + 1] = _mm256_shuffle_ps(b[t], b[t + 2], 0xee);
        a[t + 2] = _mm256_shuffle_ps(b[t + 1], b[t + 3], 0x44);
        a[t + 3] = _mm256_shuffle_ps(b[t + 1], b[t + 3], 0xee);
      }
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        float* const target = out + (d + i) * kBlock + first;
        Vector8::Store(target, _mm256_permute2f128_ps(a[i], a[i + 4], 0x20));
        Vector8::Store(target + 4 * kBlock, _mm256_permute2f128_ps(a[i], a[i + 4], 0x31));
      }
    }
  }
}

// Scores of kQueries queries for one vector of a block's tokens, from transposed keys: a lane is a
// token, so the eight partial sums of a score are eight vectors. They are taken four at a time,
// which leaves registers for more queries.
template <class V, int kQueries>
inline void ScoreTransposed(const float* const* q, const float* keys, int head_dim,
                            typename V::F* scores) {
#pragma GCC unroll 2
  for (int part = 0; part < 8; part += 4) {
    typename V::F sum[kQueries][4];
#pragma GCC unroll 8
    for (int i = 0; i < kQueries; ++i) {
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) sum[i][j] = V::Zero();
    }
    for (int d = part; d < head_dim; d += 8) {
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        const typename V::F key = V::Load(keys + (d + j) * kBlock);
#pragma GCC unroll 8
        for (int i = 0; i < kQueries; ++i) {
          sum[i][j] = V::MultiplyAdd(V::Set(q[i][d + j]), key, sum[i][j]);
        }
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < kQueries; ++i) {
      const typename V::F four = V::Add(V::Add(sum[i][0], sum[i][1]), V::Add(sum[i][2], sum[i][3]));
      scores[i] = part == 0 ? four : V::Add(scores[i], four);
    }
  }
}

// q . key of kQueries queries for a block's tokens as they lie: a lane is a partial sum. Four
// tokens at a time, so that the sums of three queries stay in 16 registers. Meanwhile the same part
// of the piece `ahead` is asked for: a core waits for some two dozen lines at once, and would stand
// still if it asked for all of the piece in one go.
template <int kQueries, class Stored>
inline void ScoreStored(const float* const* q, const Stored& keys, int head_dim, float scale,
                        const std::byte* ahead, float* scores) {
  const int four_tokens = 4 * head_dim * Stored::kBytes;
  for (int first = 0; first < kBlock; first += 4) {
    Prefetch(ahead, first / 4 * four_tokens, four_tokens);
    __m256 sum[kQueries][4];
#pragma GCC unroll 4
    for (int i = 0; i < kQueries; ++i) {
#pragma GCC unroll 4
      for (int t = 0; t < 4; ++t) sum[i][t] = _mm256_setzero_ps();
    }
    for (int d = 0; d < head_dim; d += 8) {
#pragma GCC unroll 4
      for (int t = 0; t < 4; ++t) {
        const __m256 key = keys.template Load<Vector8>((first + t) * head_dim + d);
#pragma GCC unroll 4
        for (int i = 0; i < kQueries; ++i) {
          sum[i][t] = _mm256_fmadd_ps(_mm256_loadu_ps(q[i] + d), key, sum[i][t]);
        }
      }
    }
#pragma GCC unroll 4
    for (int i = 0; i < kQueries; ++i) {
      const __m256 fours = _mm256_hadd_ps(_mm256_hadd_ps(sum[i][0], sum[i][1]),
                                          _mm256_hadd_ps(sum[i][2], sum[i][3]));
      const __m128 dots =
          _mm_add_ps(_mm256_castps256_ps128(fours), _mm256_extractf128_ps(fours, 1));
      _mm_storeu_ps(scores + i * kSplitTokens + first, _mm_mul_ps(dots, _mm_set1_ps(scale)));
    }
  }
}

// A tile's queries, row by row; query s belongs to row s / group.
struct Queries {
  explicit Queries(const AttentionTile& tile) {
    for (int s = 0; s < tile.rows * tile.group; ++s) {
      q[s] = tile.q + s / tile.group * tile.q_stride + s % tile.group * tile.head_dim;
      row[s] = s / tile.group;
    }
  }
  const float* q[kMaxTileQueries];
  int row[kMaxTileQueries];
};

// Scores of block b for queries [begin, end); `scores` is the block's place in the first query's.
// What lies in the slots behind the visible tokens may be anything, NaN included: their scores
// become minus infinity.
template <class V, int kQueries, class Stored>
inline void ScoreBlock(const AttentionTile& tile, const Queries& queries, int b, int begin, int end,
                       int head_dim, const Stored& keys, const std::byte* ahead, float* scratch,
                       float* scores) {
  if (end - begin >= kTransposeFrom) {
    Prefetch(ahead, 0, int64_t{kBlock} * head_dim * Stored::kBytes);
    Transpose(keys, head_dim, scratch);
    ForEachTile<kQueries>(begin, end, [&](auto size, int s) {
      constexpr int kCount = decltype(size)::value;
      for (int first = 0; first < kBlock; first += V::kLanes) {
        typename V::F dots[kCount];
        ScoreTransposed<V, kCount>(queries.q + s, scratch + first, head_dim, dots);
#pragma GCC unroll 8
        for (int i = 0; i < kCount; ++i) {
          V::Store(scores + (s + i) * kSplitTokens + first,
                   V::Multiply(dots[i], V::Set(tile.scale)));
        }
      }
    });
  } else {
    ForEachTile<3>(begin, end, [&](auto size, int s) {
      ScoreStored<decltype(size)::value>(queries.q + s, keys, head_dim, tile.scale,
                                         s == begin ? ahead : nullptr, scores + s * kSplitTokens);
    });
  }
  for (int s = begin; s < end; ++s) {
    for (int t = Visible(tile, queries.row[s], b); t < kBlock; ++t) {
      scores[s * kSplitTokens + t] = kMinusInfinity;
    }
  }
}

// Turns the scores of `tokens` tokens, padded to whole blocks with minus infinity, into weights
// e^(score - max).
template <class V>
inline void Soften(float* scores, int tokens, float* weight_sum, float* max) {
  __m256 largest = _mm256_set1_ps(kMinusInfinity);
  for (int t = 0; t < tokens; t += V::kLanes) largest = V::MaxEights(largest, V::Load(scores + t));
  *max = HorizontalMax(largest);
  __m256 sum = _mm256_setzero_ps();
  for (int t = 0; t < tokens; t += V::kLanes) {
    const typename V::F e = V::Exp(V::Subtract(V::Load(scores + t), V::Set(*max)));
    const typename V::F weights = V::First(tokens - t, e, V::Zero());
    V::Store(scores + t, weights);
    sum = V::AddEights(sum, weights);
  }
  *weight_sum = HorizontalSum(sum);
}

// state += sum over tokens of weight * value, for kQueries queries and kVectors vectors of a head's
// elements. Meanwhile the same part of the piece `ahead` is asked for.
template <class V, int kQueries, int kVectors, class Stored>
inline void AccumulateVectors(const Stored& values, int first, int head_dim, const float* weights,
                              int tokens, const std::byte* ahead, float* states, int state_floats) {
  typename V::F sum[kQueries][kVectors];
#pragma GCC unroll 8
  for (int i = 0; i < kQueries; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) {
      sum[i][j] = V::Load(states + i * state_floats + j * V::kLanes);
    }
  }
  for (int t = 0; t < tokens; ++t) {
    Prefetch(ahead, (t * head_dim + first) * Stored::kBytes, kVectors * V::kLanes * Stored::kBytes);
    typename V::F value[kVectors];
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) {
      value[j] = values.template Load<V>(t * head_dim + first + j * V::kLanes);
    }
#pragma GCC unroll 8
    for (int i = 0; i < kQueries; ++i) {
      const typename V::F weight = V::Set(weights[i * kSplitTokens + t]);
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) {
        sum[i][j] = V::MultiplyAdd(weight, value[j], sum[i][j]);
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kQueries; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) {
      V::Store(states + i * state_floats + j * V::kLanes, sum[i][j]);
    }
  }
}

template <class V, int kQueries, class Stored>
inline void AccumulateValues(const Stored& values, int head_dim, const float* weights, int tokens,
                             const std::byte* ahead, float* states, int state_floats) {
  int d = 0;
  for (; d + 4 * V::kLanes <= head_dim; d += 4 * V::kLanes) {
    AccumulateVectors<V, kQueries, 4>(values, d, head_dim, weights, tokens, ahead, states + d,
                                      state_floats);
  }
  for (; d < head_dim; d += 8) {
    AccumulateVectors<Vector8, kQueries, 1>(values, d, head_dim, weights, tokens, ahead, states + d,
                                            state_floats);
  }
}

// Adds block b's values to the states of queries [begin, end); `weights` is the block's place in
// the first query's. Rows that see only a part of the block must not touch the rest: even times
// zero, it might be NaN.
template <class V, int kQueries, class Stored>
inline void AddBlock(const AttentionTile& tile, int b, int begin, int end, int head_dim,
                     const Stored& values, const float* weights, const std::byte* ahead,
                     float* states) {
  const int state_floats = StateFloats(head_dim);
  const auto add = [&](int from, int to, int tokens) {
    ForEachTile<kQueries>(from, to, [&](auto size, int s) {
      AccumulateValues<V, decltype(size)::value>(values, head_dim, weights + s * kSplitTokens,
                                                 tokens, s == begin ? ahead : nullptr,
                                                 states + s * state_floats, state_floats);
    });
  };
  int s = begin;
  for (; s < end && Visible(tile, s / tile.group, b) < kBlock; s += tile.group) {
    add(s, s + tile.group, Visible(tile, s / tile.group, b));
  }
  add(s, end, kBlock);
}

// One block's halves as floats in scratch, which pays when several batches of queries read them.
inline Floats Widen(const Halves& stored, int count, float* scratch) {
  for (int i = 0; i < count; i += 8) Vector8::Store(scratch + i, stored.Load<Vector8>(i));
  return Floats(scratch);
}
inline Floats Widen(const Floats& stored, int, float*) { return stored; }

// kHeadDim 0 stands for any. A head_dim known to the compiler makes addresses constants, and
// changes nothing else.
template <class V, int kQueries, class Stored, int kHeadDim>
void AttendSplitOf(const AttentionTile& tile, int split, const KeysAhead& next, float* scratch,
                   float* states) {
  const int head_dim = kHeadDim != 0 ? kHeadDim : tile.head_dim;
  const int state_floats = StateFloats(head_dim);
  const int first_token = split * kSplitTokens;
  const int first_block = split * kBlocksPerSplit;
  const int last_position = tile.first_position + tile.rows - 1;
  int end_block = last_position / kBlock + 1;
  if (end_block > first_block + kBlocksPerSplit) end_block = first_block + kBlocksPerSplit;
  const int end = tile.rows * tile.group;
  float* const scores = scratch + kBlock * head_dim;  // [query][kSplitTokens]
  const int64_t block_bytes = int64_t{kBlock} * head_dim * Stored::kBytes;
  const auto first_query = [&](int b) { return FirstRowAt(tile, b * kBlock) * tile.group; };
  const Queries queries(tile);

  const int num_blocks = end_block - first_block;
  const std::byte* pieces[2 * kBlocksPerSplit + kPiecesAhead];  // as they are used
  for (int i = 0; i < num_blocks; ++i) {
    pieces[i] = tile.keys + tile.table[first_block + i] * tile.block_stride;
    pieces[num_blocks + i] = pieces[i] + tile.value_offset;
  }
  for (int i = 0; i < kPiecesAhead; ++i) pieces[2 * num_blocks + i] = next.piece[i];
  const std::byte* const* piece = pieces;

  for (int b = first_block; b < end_block; ++b, ++piece) {
    ScoreBlock<V, kQueries>(tile, queries, b, first_query(b), end, head_dim, Stored(*piece),
                            piece[kPiecesAhead], scratch, scores + b * kBlock - first_token);
  }
  for (int s = first_query(first_block); s < end; ++s) {
    float* const state = states + s * state_floats;
    const int visible = tile.first_position + queries.row[s] - first_token + 1;
    Soften<V>(scores + s * kSplitTokens, visible < kSplitTokens ? visible : kSplitTokens,
              state + head_dim, state + head_dim + 1);
    for (int i = 0; i < head_dim; ++i) state[i] = 0.0f;
  }
  for (int b = first_block; b < end_block; ++b, ++piece) {
    const Stored values(*piece);
    const std::byte* const ahead = piece[kPiecesAhead];
    const float* const weights = scores + b * kBlock - first_token;
    const int begin = first_query(b);
    if (end - begin > kQueries) {
      Prefetch(ahead, 0, block_bytes);
      AddBlock<V, kQueries>(tile, b, begin, end, head_dim,
                            Widen(values, kBlock * head_dim, scratch), weights, nullptr, states);
    } else {
      AddBlock<V, kQueries>(tile, b, begin, end, head_dim, values, weights, ahead, states);
    }
  }
}

template <class V, int kQueries, class Stored>
inline void AttendSplitIn(const AttentionTile& tile, int split, const KeysAhead& next,
                          float* scratch, float* states) {
  switch (tile.head_dim) {
    case 64:
      return AttendSplitOf<V, kQueries, Stored, 64>(tile, split, next, scratch, states);
    case 128:
      return AttendSplitOf<V, kQueries, Stored, 128>(tile, split, next, scratch, states);
    default:
      return AttendSplitOf<V, kQueries, Stored, 0>(tile, split, next, scratch, states);
  }
}

template <class V, int kQueries>
inline void AttendSplitBy(const AttentionTile& tile, int split, const KeysAhead& next,
                          float* scratch, float* states) {
  if (tile.half) return AttendSplitIn<V, kQueries, Halves>(tile, split, next, scratch, states);
  return AttendSplitIn<V, kQueries, Floats>(tile, split, next, scratch, states);
}

}  // namespace
}  // namespace tandem
