// A vector holds 16 output features: their weights of four input features each, or their results.
// vpdpbusd multiplies unsigned weights with signed activations and adds up in 32 bits, so dot
// products are exact without further thought.
#include <immintrin.h>

#include <cstring>

#include "kernels/cpu/matmul_kernels.h"
#include "kernels/cpu/row_tiles.h"

namespace tandem::avx512 {
namespace {

// Of 32 registers, a tile takes two for each row: its sum of integers and its result. More rows
// gave nothing.
constexpr int kQuantizedRows = 8;
constexpr int kFloatRows = 8;

inline __m512i LoadVector(const std::byte* p) { return _mm512_load_si512(p); }

inline __m512 LoadHalves(const std::byte* p) {
  return _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(p)));
}

inline __mmask16 Lanes(const GroupOutput& output) {
  return static_cast<__mmask16>((1u << output.features) - 1);
}

inline void Store(const GroupOutput& output, int row, __m512 value) {
  _mm512_mask_storeu_ps(output.out + row * output.out_stride, Lanes(output), value);
}

// sum += products of the unsigned bytes of weights and four int8, which all lanes share. Written
// out because compilers load those four by an instruction of their own, and because they gather all
// products of a block before they add them up, which no register file holds.
inline void AddProducts(__m512i& sum, __m512i weights, const int8_t* four) {
  asm("vpdpbusd %2%{1to16%}, %1, %0"
      : "+v"(sum)
      : "v"(weights), "m"(*reinterpret_cast<const int8_t(*)[4]>(four)));
}

// One block of 32 input features in the layouts of packed_weights.h. Dot adds its products with
// kRows rows of int8, `stride` apart, to dot.
struct NibbleBlock {
  static constexpr bool kHasMinimum = true;
  static const std::byte* Vectors(const std::byte* group, int b) { return group + b * 320; }
  static const std::byte* Scales(const std::byte* group, int b) { return Vectors(group, b) + 256; }

  // No offset: nibbles are unsigned.
  static __m512i StartSum(int32_t) { return _mm512_setzero_si512(); }

  template <int kRows>
  static void Dot(const std::byte* block, const int8_t* q, int64_t stride, __m512i* dot) {
    const __m512i low = _mm512_set1_epi8(15);
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) {
      const __m512i packed = LoadVector(block + 64 * v);
      const __m512i first = _mm512_and_si512(packed, low);
      const __m512i second = _mm512_and_si512(_mm512_srli_epi16(packed, 4), low);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        const int8_t* a = q + r * stride + 4 * v;
        AddProducts(dot[r], first, a);
        AddProducts(dot[r], second, a + 16);
      }
    }
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

  // Weights are stored plus 128, to be unsigned; this takes 128 times the activations off again.
  static __m512i StartSum(int32_t q_sum) { return _mm512_set1_epi32(-128 * q_sum); }

  template <int kRows>
  static void Dot(const std::byte* block, const int8_t* q, int64_t stride, __m512i* dot) {
#pragma GCC unroll 8
    for (int v = 0; v < 8; ++v) {
      const __m512i weights = LoadVector(block + 64 * v);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        AddProducts(dot[r], weights, q + r * stride + 4 * v);
      }
    }
  }
};

int32_t SumOfBytes(const int8_t* q) {
  int32_t sum = 0;
  for (int i = 0; i < 32; ++i) sum += q[i];
  return sum;
}

// Adds the second terms of one row's refined blocks.
template <class Block>
inline __m512 AddRefined(const std::byte* group, const QuantizedRows& x, int row, __m512 result) {
  const int64_t first = int64_t{row} * x.blocks;
  const int8_t* rest = x.rest + 32 * first;
  for (int i = 0; i < x.refined[row]; ++i, rest += 32) {
    const int b = x.refined_block[first + i];
    const std::byte* block = Block::Vectors(group, b);
    __m512i dot = Block::StartSum(Block::kHasMinimum ? 0 : SumOfBytes(rest));
    Block::template Dot<1>(block, rest, 0, &dot);
    const __m512 scale = _mm512_set1_ps(x.scale[first + b] * 0x1p-7f);
    const __m512 ds = _mm512_mul_ps(LoadHalves(Block::Scales(group, b)), scale);
    result = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), ds, result);
  }
  return result;
}

template <class Block, int kRows>
void QuantizedTile(const std::byte* group, const QuantizedRows& x, int row,
                   const GroupOutput& output) {
  const int64_t cols = int64_t{x.blocks} * 32;
  const int64_t first = int64_t{row} * x.blocks;
  const int8_t* q = x.q + row * cols;
  const int32_t* q_sum = x.q_sum + first;
  const float* scale = x.scale + first;
  const float* sum = x.sum + first;
  __m512 result[kRows];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) result[r] = _mm512_setzero_ps();

  for (int b = 0; b < x.blocks; ++b, q += 32) {
    const std::byte* const block = Block::Vectors(group, b);
    __m512i dot[kRows];
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) dot[r] = Block::StartSum(q_sum[r * x.blocks + b]);
    Block::template Dot<kRows>(block, q, cols, dot);
    const std::byte* const scales = Block::Scales(group, b);
    const __m512 d = LoadHalves(scales);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const __m512 ds = _mm512_mul_ps(d, _mm512_set1_ps(scale[r * x.blocks + b]));
      result[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[r]), ds, result[r]);
    }
    if constexpr (Block::kHasMinimum) {
      const __m512 minimum = LoadHalves(scales + 32);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        result[r] = _mm512_fmadd_ps(minimum, _mm512_set1_ps(sum[r * x.blocks + b]), result[r]);
      }
    }
  }
  alignas(64) float stored[kRows][16];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) _mm512_store_ps(stored[r], result[r]);
  for (int r = 0; r < kRows; ++r) {
    Store(output, row + r, AddRefined<Block>(group, x, row + r, _mm512_load_ps(stored[r])));
  }
}

template <class Block>
void QuantizedTiles(const std::byte* group, const QuantizedRows& x, int row_begin, int row_end,
                    const GroupOutput& output) {
  ForEachTile<kQuantizedRows>(row_begin, row_end, [&](auto size, int row) {
    QuantizedTile<Block, decltype(size)::value>(group, x, row, output);
  });
}

struct LoadF32 {
  static constexpr int kBytes = 4;
  static __m512 Load(const std::byte* p) { return _mm512_loadu_ps(p); }
};
struct LoadF16 {
  static constexpr int kBytes = 2;
  static __m512 Load(const std::byte* p) { return LoadHalves(p); }
};
struct LoadBF16 {
  static constexpr int kBytes = 2;
  static __m512 Load(const std::byte* p) {
    const __m256i raw = _mm256_load_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(raw), 16));
  }
};

template <class Weight, int kRows>
void FloatTile(const std::byte* w, const float* x, int cols, int row, const GroupOutput& output) {
  x += int64_t{row} * cols;
  __m512 even[kRows];
  __m512 odd[kRows];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) even[r] = odd[r] = _mm512_setzero_ps();
  int k = 0;
  for (; k + 2 <= cols; k += 2, w += 2 * 16 * Weight::kBytes) {
    const __m512 first = Weight::Load(w);
    const __m512 second = Weight::Load(w + 16 * Weight::kBytes);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const float* a = x + int64_t{r} * cols + k;
      even[r] = _mm512_fmadd_ps(first, _mm512_set1_ps(a[0]), even[r]);
      odd[r] = _mm512_fmadd_ps(second, _mm512_set1_ps(a[1]), odd[r]);
    }
  }
  if (k < cols) {
    const __m512 last = Weight::Load(w);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      even[r] = _mm512_fmadd_ps(last, _mm512_set1_ps(x[int64_t{r} * cols + k]), even[r]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) Store(output, row + r, _mm512_add_ps(even[r], odd[r]));
}

template <class Weight>
void FloatTiles(const std::byte* group, const float* x, int cols, int row_begin, int row_end,
                const GroupOutput& output) {
  ForEachTile<kFloatRows>(row_begin, row_end, [&](auto size, int row) {
    FloatTile<Weight, decltype(size)::value>(group, x, cols, row, output);
  });
}

}  // namespace

const MatMulKernels kMatMul = {.nibbles = QuantizedTiles<NibbleBlock>,
                               .bytes = QuantizedTiles<ByteBlock>,
                               .f32 = FloatTiles<LoadF32>,
                               .f16 = FloatTiles<LoadF16>,
                               .bf16 = FloatTiles<LoadBF16>};

}  // namespace tandem::avx512
