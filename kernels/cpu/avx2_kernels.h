// The AVX2 loops of the fast CPU backend: plain functions over pointers. They own nothing and
// allocate nothing; any thread may call them. Each output element is computed by one fixed sequence
// of operations, whatever the other arguments.
//
// Only the standard C headers below: this header is read by files compiled with and without AVX2.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/quantized_rows.h"

namespace tandem::avx2 {

// Quantizes one row of x.blocks * 32 floats into row `row` of x.
void QuantizeRow(const float* in, int row, const QuantizedRows& x);

void RmsNormRow(const float* x, const float* weight, int dim, float eps, float* out);
void Add(const float* delta, int64_t count, float* residual);
void SiluMul(const float* gate, const float* up, int64_t count, float* out);
// Rotates the first rope_dim elements of one head by the angles of StepState::rotation and copies
// the rest. out may be in.
void RotateHead(const float* in, const float* rotation, int rope_dim, int head_dim, float* out);
void FloatsToHalves(const float* in, int count, std::byte* out);  // count: a multiple of 8

// Attention of `rows` rows of one sequence at positions first_position, +1, ...; with the `group`
// query heads that share one KV head.
struct AttentionTile {
  const float* q = nullptr;  // row r, head g: q + r * q_stride + g * head_dim
  int64_t q_stride = 0;
  int rows = 0;
  int first_position = 0;
  int group = 0;
  int head_dim = 0;
  float scale = 0;
  bool half = true;                 // the cache holds halves, else floats
  const std::byte* keys = nullptr;  // of this layer and KV head in physical block 0
  int64_t block_stride = 0;
  int64_t value_offset = 0;
  const uint32_t* table = nullptr;
};

// Softmax is done apart for each split of this many positions, at fixed absolute places, and the
// results are merged in order. So threads can share the work for one row without changing its
// result.
inline constexpr int kSplitTokens = 256;

// A tile has rows * group states, one for each (row, head): head_dim output sums, then the sum of
// weights, then the largest score. Each takes StateFloats(head_dim) floats.
inline constexpr int StateFloats(int head_dim) { return head_dim + 8; }
// Scratch floats that AttendSplit needs: one widened block of keys or values, and all scores of the
// split.
inline constexpr int SplitScratchFloats(int head_dim, int rows, int group) {
  return 16 * head_dim + rows * group * kSplitTokens;
}

// Computes split `split` for every row that reaches into it; the states of other rows are left as
// they are.
void AttendSplit(const AttentionTile& tile, int split, float* scratch, float* states);
// Merges the states of a later split into `total`, for the rows that reach into it. For split 0,
// sets total.
void MergeSplit(const AttentionTile& tile, int split, const float* states, float* total);
// out[r * q_stride + g * head_dim ...] = the finished rows.
void FinishTile(const AttentionTile& tile, const float* total, float* out);

}  // namespace tandem::avx2
