// A vector holds 8 output features, half a group: their weights of four input features each, or
// their results. A tile multiplies one half or both with a few rows; the weights are unpacked once
// for all rows. The tile's size is a template argument and its rows and halves do not meet, so an
// element's arithmetic is the same in every tile.
#include <immintrin.h>

#include <cstring>

#include "kernels/cpu/matmul_kernels.h"
#include "kernels/cpu/row_tiles.h"
#include "kernels/cpu/vector8.h"

namespace tandem::avx2 {
namespace {

// 16 registers hold the sums and results of four rows of one half.
constexpr int kTileRows = 4;

inline __m256 LoadHalves(const std::byte* p) {
  return _mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(p)));
}

inline __m256i LoadVector(const std::byte* p) {
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(p));
}

inline __m256i BroadcastFour(const int8_t* p) {
  int32_t four;
  std::memcpy(&four, p, sizeof(four));
  return _mm256_set1_epi32(four);
}

// Stores the results of half `half` of the group.
inline void Store(const GroupOutput& output, int row, int half, __m256 value) {
  float* out = output.out + row * output.out_stride + 8 * half;
  const int features = output.features - 8 * half;
  if (features >= 8) {
    _mm256_storeu_ps(out, value);
  } else if (features > 0) {
    _mm256_maskstore_ps(out, FirstLanes(features), value);
  }
}

// Keeps a running integer sum in its register. Without this, compilers gather all products of a
// block before they add them up, which does not fit in 16 registers and halves the speed.
inline void KeepSum(__m256i& sum) { asm("" : "+x"(sum)); }

// One block of 32 input features in the layouts of packed_weights.h. Dot gives its products with
// kRows rows of int8, `stride` apart, as sums of 32 bits; `block` points at the half wanted.
struct NibbleBlock {
  static constexpr bool kHasMinimum = true;
  static const std::byte* Vectors(const std::byte* group, int b) { return group + b * 320; }
  static const std::byte* Scales(const std::byte* group, int b) { return Vectors(group, b) + 256; }

  template <int kRows>
  static void Dot(const std::byte* block, const int8_t* q, int64_t stride, __m256i* dot) {
    const __m256i low = _mm256_set1_epi8(15);
    // 16-bit sums hold a whole block: at most 8 * 2 * 15 * 127 = 30480.
    for (int r = 0; r < kRows; ++r) dot[r] = _mm256_setzero_si256();
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) {
      const __m256i packed = LoadVector(block + 64 * v);
      const __m256i first = _mm256_and_si256(packed, low);
      const __m256i second = _mm256_and_si256(_mm256_srli_epi16(packed, 4), low);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const int8_t* a = q + r * stride + 4 * v;
        dot[r] = _mm256_add_epi16(dot[r], _mm256_maddubs_epi16(first, BroadcastFour(a)));
        KeepSum(dot[r]);
        dot[r] = _mm256_add_epi16(dot[r], _mm256_maddubs_epi16(second, BroadcastFour(a + 16)));
        KeepSum(dot[r]);
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) dot[r] = _mm256_madd_epi16(dot[r], _mm256_set1_epi16(1));
  }
};

struct ByteBlock {
  static constexpr bool kHasMinimum = false;
  // Two blocks have their vectors around their scales.
  static const std::byte* Vectors(const std::byte* group, int b) {
    return group + b / 2 * 1088 + b % 2 * 576;
  }
  static const std::byte* Scales(const std::byte* group, int b) {
    return group + b / 2 * 1088 + 512 + b % 2 * 32;
  }

  template <int kRows>
  static void Dot(const std::byte* block, const int8_t* q, int64_t stride, __m256i* dot) {
    for (int r = 0; r < kRows; ++r) dot[r] = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (int v = 0; v < 8; ++v) {
      // Stored plus 128. Those bytes times int8 would not fit in maddubs' 16 bits; magnitudes do,
      // and the sign moves to the other factor.
      const __m256i w = _mm256_xor_si256(LoadVector(block + 64 * v), _mm256_set1_epi8(-128));
      const __m256i magnitude = _mm256_abs_epi8(w);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const __m256i a = _mm256_sign_epi8(BroadcastFour(q + r * stride + 4 * v), w);
        const __m256i pairs = _mm256_maddubs_epi16(magnitude, a);
        dot[r] = _mm256_add_epi32(dot[r], _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
        KeepSum(dot[r]);
      }
    }
  }
};

// Adds the second terms of one row's refined blocks.
template <class Block>
inline __m256 AddRefined(const std::byte* group, const QuantizedRows& x, int row, int half,
                         __m256 result) {
  const int64_t first = int64_t{row} * x.blocks;
  const int8_t* rest = x.rest + 32 * first;
  for (int i = 0; i < x.refined[row]; ++i, rest += 32) {
    const int b = x.refined_block[first + i];
    const std::byte* block = Block::Vectors(group, b);
    __m256i dot;
    Block::template Dot<1>(block + 32 * half, rest, 0, &dot);
    const __m256 scale = _mm256_set1_ps(x.scale[first + b] * 0x1p-7f);
    const __m256 d = LoadHalves(Block::Scales(group, b) + 16 * half);
    result = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), _mm256_mul_ps(d, scale), result);
  }
  return result;
}

// Halves [kFirstHalf, kFirstHalf + kHalves) of the group.
template <class Block, int kRows, int kFirstHalf, int kHalves>
void QuantizedTile(const std::byte* group, const QuantizedRows& x, int row,
                   const GroupOutput& output) {
  const int64_t cols = int64_t{x.blocks} * 32;
  const int64_t first = int64_t{row} * x.blocks;
  const int8_t* q = x.q + row * cols;
  const float* scale = x.scale + first;
  const float* sum = x.sum + first;
  __m256 result[kHalves][kRows];
  for (int h = 0; h < kHalves; ++h) {
    for (int r = 0; r < kRows; ++r) result[h][r] = _mm256_setzero_ps();
  }

  for (int b = 0; b < x.blocks; ++b, q += 32) {
    const std::byte* const block = Block::Vectors(group, b);
#pragma GCC unroll 2
    for (int h = 0; h < kHalves; ++h) {
      const int half = kFirstHalf + h;
      __m256i dot[kRows];
      Block::template Dot<kRows>(block + 32 * half, q, cols, dot);
      const std::byte* const scales = Block::Scales(group, b) + 16 * half;
      const __m256 d = LoadHalves(scales);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const __m256 ds = _mm256_mul_ps(d, _mm256_set1_ps(scale[r * x.blocks + b]));
        result[h][r] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot[r]), ds, result[h][r]);
      }
      if constexpr (Block::kHasMinimum) {
        const __m256 minimum = LoadHalves(scales + 32);
#pragma GCC unroll 4
        for (int r = 0; r < kRows; ++r) {
          const __m256 s = _mm256_set1_ps(sum[r * x.blocks + b]);
          result[h][r] = _mm256_fmadd_ps(minimum, s, result[h][r]);
        }
      }
    }
  }
  for (int h = 0; h < kHalves; ++h) {
    const int half = kFirstHalf + h;
    for (int r = 0; r < kRows; ++r) {
      Store(output, row + r, half, AddRefined<Block>(group, x, row + r, half, result[h][r]));
    }
  }
}

template <class Block>
void QuantizedTiles(const std::byte* group, const QuantizedRows& x, int row_begin, int row_end,
                    const GroupOutput& output) {
  ForEachTile<kTileRows>(row_begin, row_end, [&](auto size, int row) {
    constexpr int kRows = decltype(size)::value;
    if constexpr (kRows == 1) {
      // Decode reads the weights from far away; this takes each cache line once.
      QuantizedTile<Block, kRows, 0, 2>(group, x, row, output);
    } else {
      QuantizedTile<Block, kRows, 0, 1>(group, x, row, output);
      if (output.features > 8) QuantizedTile<Block, kRows, 1, 1>(group, x, row, output);
    }
  });
}

struct LoadF32 {
  static constexpr int kBytes = 4;
  static __m256 Load(const std::byte* p) {
    return _mm256_load_ps(reinterpret_cast<const float*>(p));
  }
};
struct LoadF16 {
  static constexpr int kBytes = 2;
  static __m256 Load(const std::byte* p) { return LoadHalves(p); }
};
struct LoadBF16 {
  static constexpr int kBytes = 2;
  static __m256 Load(const std::byte* p) {
    const __m128i raw = _mm_load_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(raw), 16));
  }
};

template <class Weight, int kRows>
void FloatTile(const std::byte* group, const float* x, int cols, int row, int half,
               const GroupOutput& output) {
  constexpr int kColumn = 16 * Weight::kBytes;
  const std::byte* w = group + kColumn / 2 * half;
  x += int64_t{row} * cols;
  // Even and odd input features apart: two chains of additions hide some of their latency.
  __m256 even[kRows];
  __m256 odd[kRows];
  for (int r = 0; r < kRows; ++r) even[r] = odd[r] = _mm256_setzero_ps();
  int k = 0;
  for (; k + 2 <= cols; k += 2, w += 2 * kColumn) {
    const __m256 first = Weight::Load(w);
    const __m256 second = Weight::Load(w + kColumn);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const float* a = x + int64_t{r} * cols + k;
      even[r] = _mm256_fmadd_ps(first, _mm256_set1_ps(a[0]), even[r]);
      odd[r] = _mm256_fmadd_ps(second, _mm256_set1_ps(a[1]), odd[r]);
    }
  }
  if (k < cols) {
    const __m256 last = Weight::Load(w);
    for (int r = 0; r < kRows; ++r) {
      even[r] = _mm256_fmadd_ps(last, _mm256_set1_ps(x[int64_t{r} * cols + k]), even[r]);
    }
  }
  for (int r = 0; r < kRows; ++r) Store(output, row + r, half, _mm256_add_ps(even[r], odd[r]));
}

template <class Weight>
void FloatTiles(const std::byte* group, const float* x, int cols, int row_begin, int row_end,
                const GroupOutput& output) {
  ForEachTile<kTileRows>(row_begin, row_end, [&](auto size, int row) {
    for (int half = 0; 8 * half < output.features; ++half) {
      FloatTile<Weight, decltype(size)::value>(group, x, cols, row, half, output);
    }
  });
}

}  // namespace

const MatMulKernels kMatMul = {.nibbles = QuantizedTiles<NibbleBlock>,
                               .bytes = QuantizedTiles<ByteBlock>,
                               .f32 = FloatTiles<LoadF32>,
                               .f16 = FloatTiles<LoadF16>,
                               .bf16 = FloatTiles<LoadBF16>};

}  // namespace tandem::avx2
