// The attention loops of the fast CPU backend: plain functions over pointers, which own nothing,
// allocate nothing and may be called by any thread.
//
// Softmax is done apart for each split of 256 positions, at fixed absolute places, and the results
// are merged in order. So threads can share the work for one row without changing its result.
// Within a split, for one row and head:
//   score   eight partial sums of q[d] * k[d], by d modulo 8, each in rising order; added up as
//           ((0 + 1) + (2 + 3)) + ((4 + 5) + (6 + 7)); times scale
//   weight  e^(score - largest score of the split); their sum in eight parts, by position modulo 8
//   value   fma(weight, v[d], sum) over rising positions
//
// Only standard C headers: this header is read by files compiled for different instruction sets.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tandem {

inline constexpr int kSplitTokens = 256;
inline constexpr int kMaxTileQueries = 128;  // rows * group of a tile
inline constexpr int kPiecesAhead = 3;       // see KeysAhead

// Attention of `rows` rows of one sequence at positions first_position, +1, ...; with the `group`
// query heads that share one KV head. rows * group <= kMaxTileQueries.
struct AttentionTile {
  const float* q = nullptr;  // row r, head g: q + r * q_stride + g * head_dim
  int64_t q_stride = 0;
  int rows = 0;
  int first_position = 0;
  int group = 0;
  int head_dim = 0;  // a multiple of 8
  float scale = 0;
  bool half = true;                 // the cache holds halves, else floats
  const std::byte* keys = nullptr;  // of this layer and KV head in physical block 0
  int64_t block_stride = 0;
  int64_t value_offset = 0;
  const uint32_t* table = nullptr;
};

// Keys are used block by block, then values; memory answers later than one block takes to compute,
// and blocks lie apart, so that the hardware does not see the next one coming. So a block's keys or
// values, a piece, are asked for while the third one before them is computed. These are the pieces
// that the calling thread is likely to use after the split; null where there is none. Only speed
// depends on them.
struct KeysAhead {
  const std::byte* piece[kPiecesAhead] = {};
};

// A tile has rows * group states, one for each (row, head): head_dim output sums, then the sum of
// weights, then the largest score. Each takes StateFloats(head_dim) floats.
inline constexpr int StateFloats(int head_dim) { return head_dim + 8; }
// Scratch floats that AttendSplit needs: one block of keys or values, and all scores of the split.
inline constexpr int SplitScratchFloats(int head_dim, int rows, int group) {
  return 16 * head_dim + rows * group * kSplitTokens;
}

// Computes split `split` for every row that reaches into it; the states of other rows are left as
// they are.
using AttendSplitFunction = void (*)(const AttentionTile& tile, int split, const KeysAhead& next,
                                     float* scratch, float* states);

namespace avx2 {
void AttendSplit(const AttentionTile& tile, int split, const KeysAhead& next, float* scratch,
                 float* states);
// Merges the states of a later split into `total`, for the rows that reach into it. For split 0,
// sets total.
void MergeSplit(const AttentionTile& tile, int split, const float* states, float* total);
// out[r * q_stride + g * head_dim ...] = the finished rows.
void FinishTile(const AttentionTile& tile, const float* total, float* out);
}  // namespace avx2

namespace avx512 {
void AttendSplit(const AttentionTile& tile, int split, const KeysAhead& next, float* scratch,
                 float* states);
}

}  // namespace tandem
