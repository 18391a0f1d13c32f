#include <cstring>

#include "kernels/cpu/avx2_kernels.h"
#include "kernels/cpu/avx2_math.h"

// Every kernel unpacks 8 features' weights once and uses them for up to kMaxTile rows. The tile's
// row count is a template argument and the rows of a tile do not meet, so a row's arithmetic is the
// same in every tile.
namespace tandem::avx2 {
namespace {

constexpr int kMaxTile = 4;

void Store(const GroupOutput& output, int row, __m256 value) {
  float* out = output.out + row * output.out_stride;
  if (output.features == 8) {
    _mm256_storeu_ps(out, value);
  } else {
    _mm256_maskstore_ps(out, FirstLanes(output.features), value);
  }
}

__m256 LoadHalves(const std::byte* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

__m256i BroadcastFour(const int8_t* p) {
  int32_t four;
  std::memcpy(&four, p, sizeof(four));
  return _mm256_set1_epi32(four);
}

// Keeps a running integer sum in its register. Without this, compilers gather all products of a
// block before they add them up, which does not fit in 16 registers and halves the speed.
void KeepSum(__m256i& sum) { asm("" : "+x"(sum)); }

template <int kRows>
bool AnyRefined(const uint8_t* refined, int stride) {
  uint8_t any = 0;
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) any |= refined[r * stride];
  return any != 0;
}

// The dot products with both terms of the rows. Exact, like the plain ones: they are whole 128ths
// below 2^24.
inline __m256 AddRest(__m256i dot, __m256i rest) {
  const __m256i total = _mm256_add_epi32(_mm256_slli_epi32(dot, 7), rest);
  return _mm256_mul_ps(_mm256_cvtepi32_ps(total), _mm256_set1_ps(0x1p-7f));
}

// dot[r] = products of one block with 32 int8 values of each row, as 8 sums of 32 bits.
template <int kRows>
inline void DotNibbles(const std::byte* block, const int8_t* q, int64_t cols, __m256i* dot) {
  const __m256i low = _mm256_set1_epi8(15);
  // 16-bit sums hold a whole block: at most 8 * 2 * 15 * 127 = 30480.
  for (int r = 0; r < kRows; ++r) dot[r] = _mm256_setzero_si256();
#pragma GCC unroll 4
  for (int v = 0; v < 4; ++v) {
    const __m256i packed = _mm256_load_si256(reinterpret_cast<const __m256i*>(block + 32 * v));
    const __m256i first = _mm256_and_si256(packed, low);
    const __m256i second = _mm256_and_si256(_mm256_srli_epi16(packed, 4), low);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const int8_t* a = q + r * cols + 4 * v;
      dot[r] = _mm256_add_epi16(dot[r], _mm256_maddubs_epi16(first, BroadcastFour(a)));
      KeepSum(dot[r]);
      dot[r] = _mm256_add_epi16(dot[r], _mm256_maddubs_epi16(second, BroadcastFour(a + 16)));
      KeepSum(dot[r]);
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) dot[r] = _mm256_madd_epi16(dot[r], _mm256_set1_epi16(1));
}

template <int kRows>
void NibbleTile(const std::byte* block, const QuantizedRows& x, int row,
                const GroupOutput& output) {
  const int64_t cols = int64_t{x.blocks} * 32;
  const int64_t first_block = int64_t{row} * x.blocks;
  const int8_t* q = x.q + row * cols;
  const int8_t* rest = x.rest + row * cols;
  const uint8_t* refined = x.refined + first_block;
  const float* scale = x.scale + first_block;
  const float* sum = x.sum + first_block;
  __m256 result[kRows];
  for (int r = 0; r < kRows; ++r) result[r] = _mm256_setzero_ps();

  for (int b = 0; b < x.blocks; ++b, block += 160) {
    __m256i dot[kRows];
    __m256 dots[kRows];
    DotNibbles<kRows>(block, q + 32 * b, cols, dot);
    if (AnyRefined<kRows>(refined + b, x.blocks)) {
      __m256i rest_dot[kRows];
      DotNibbles<kRows>(block, rest + 32 * b, cols, rest_dot);
      for (int r = 0; r < kRows; ++r) dots[r] = AddRest(dot[r], rest_dot[r]);
    } else {
      for (int r = 0; r < kRows; ++r) dots[r] = _mm256_cvtepi32_ps(dot[r]);
    }
    const __m256 d = LoadHalves(block + 128);
    const __m256 m = LoadHalves(block + 144);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const __m256 ds = _mm256_mul_ps(d, _mm256_set1_ps(scale[r * x.blocks + b]));
      result[r] = _mm256_fmadd_ps(dots[r], ds, result[r]);
      result[r] = _mm256_fmadd_ps(m, _mm256_set1_ps(sum[r * x.blocks + b]), result[r]);
    }
  }
  for (int r = 0; r < kRows; ++r) Store(output, row + r, result[r]);
}

template <int kRows>
inline void DotBytes(const std::byte* block, const int8_t* q, int64_t cols, __m256i* dot) {
  for (int r = 0; r < kRows; ++r) dot[r] = _mm256_setzero_si256();
#pragma GCC unroll 8
  for (int v = 0; v < 8; ++v) {
    const __m256i w = _mm256_load_si256(reinterpret_cast<const __m256i*>(block + 32 * v));
    // Unsigned, for maddubs; the sign moves to the other factor.
    const __m256i magnitude = _mm256_abs_epi8(w);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const __m256i a = _mm256_sign_epi8(BroadcastFour(q + r * cols + 4 * v), w);
      const __m256i pairs = _mm256_maddubs_epi16(magnitude, a);
      dot[r] = _mm256_add_epi32(dot[r], _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
      KeepSum(dot[r]);
    }
  }
}

template <int kRows>
void ByteTile(const std::byte* block, const QuantizedRows& x, int row, const GroupOutput& output) {
  const int64_t cols = int64_t{x.blocks} * 32;
  const int64_t first_block = int64_t{row} * x.blocks;
  const int8_t* q = x.q + row * cols;
  const int8_t* rest = x.rest + row * cols;
  const uint8_t* refined = x.refined + first_block;
  const float* scale = x.scale + first_block;
  const std::byte* scales = block + int64_t{x.blocks} * 256;
  __m256 result[kRows];
  for (int r = 0; r < kRows; ++r) result[r] = _mm256_setzero_ps();

  for (int b = 0; b < x.blocks; ++b, block += 256, scales += 16) {
    __m256i dot[kRows];
    __m256 dots[kRows];
    DotBytes<kRows>(block, q + 32 * b, cols, dot);
    if (AnyRefined<kRows>(refined + b, x.blocks)) {
      __m256i rest_dot[kRows];
      DotBytes<kRows>(block, rest + 32 * b, cols, rest_dot);
      for (int r = 0; r < kRows; ++r) dots[r] = AddRest(dot[r], rest_dot[r]);
    } else {
      for (int r = 0; r < kRows; ++r) dots[r] = _mm256_cvtepi32_ps(dot[r]);
    }
    const __m256 d = LoadHalves(scales);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const __m256 ds = _mm256_mul_ps(d, _mm256_set1_ps(scale[r * x.blocks + b]));
      result[r] = _mm256_fmadd_ps(dots[r], ds, result[r]);
    }
  }
  for (int r = 0; r < kRows; ++r) Store(output, row + r, result[r]);
}

struct LoadF32 {
  static constexpr int kBytes = 4;
  static __m256 Load(const std::byte* p) {
    return _mm256_loadu_ps(reinterpret_cast<const float*>(p));
  }
};
struct LoadF16 {
  static constexpr int kBytes = 2;
  static __m256 Load(const std::byte* p) { return LoadHalves(p); }
};
struct LoadBF16 {
  static constexpr int kBytes = 2;
  static __m256 Load(const std::byte* p) {
    const __m128i raw = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(raw), 16));
  }
};

template <class Weight, int kRows>
void FloatTile(const std::byte* w, const float* x, int cols, int row, const GroupOutput& output) {
  x += int64_t{row} * cols;
  // Even and odd input features apart: two chains of additions hide some of their latency.
  __m256 even[kRows];
  __m256 odd[kRows];
  for (int r = 0; r < kRows; ++r) even[r] = odd[r] = _mm256_setzero_ps();
  int k = 0;
  for (; k + 2 <= cols; k += 2, w += 2 * 8 * Weight::kBytes) {
    const __m256 first = Weight::Load(w);
    const __m256 second = Weight::Load(w + 8 * Weight::kBytes);
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
  for (int r = 0; r < kRows; ++r) Store(output, row + r, _mm256_add_ps(even[r], odd[r]));
}

template <int kRows>
struct TileSize {
  static constexpr int value = kRows;
};
// Calls tile(TileSize<n>(), row) for tiles of n rows that cover [begin, end).
template <class Tile>
void ForEachTile(int begin, int end, Tile tile) {
  int row = begin;
  for (; row + kMaxTile <= end; row += kMaxTile) tile(TileSize<kMaxTile>(), row);
  switch (end - row) {
    case 3:
      tile(TileSize<3>(), row);
      break;
    case 2:
      tile(TileSize<2>(), row);
      break;
    case 1:
      tile(TileSize<1>(), row);
      break;
    default:
      break;
  }
}

template <class Weight>
void FloatTiles(const std::byte* group, const float* x, int cols, int row_begin, int row_end,
                const GroupOutput& output) {
  ForEachTile(row_begin, row_end, [&](auto size, int row) {
    FloatTile<Weight, decltype(size)::value>(group, x, cols, row, output);
  });
}

}  // namespace

void MatMulNibbles(const std::byte* group, const QuantizedRows& x, int row_begin, int row_end,
                   const GroupOutput& output) {
  ForEachTile(row_begin, row_end, [&](auto size, int row) {
    NibbleTile<decltype(size)::value>(group, x, row, output);
  });
}

void MatMulBytes(const std::byte* group, const QuantizedRows& x, int row_begin, int row_end,
                 const GroupOutput& output) {
  ForEachTile(row_begin, row_end,
              [&](auto size, int row) { ByteTile<decltype(size)::value>(group, x, row, output); });
}

void MatMulF32(const std::byte* group, const float* x, int cols, int row_begin, int row_end,
               const GroupOutput& output) {
  FloatTiles<LoadF32>(group, x, cols, row_begin, row_end, output);
}

void MatMulF16(const std::byte* group, const float* x, int cols, int row_begin, int row_end,
               const GroupOutput& output) {
  FloatTiles<LoadF16>(group, x, cols, row_begin, row_end, output);
}

void MatMulBF16(const std::byte* group, const float* x, int cols, int row_begin, int row_end,
                const GroupOutput& output) {
  FloatTiles<LoadBF16>(group, x, cols, row_begin, row_end, output);
}

}  // namespace tandem::avx2
