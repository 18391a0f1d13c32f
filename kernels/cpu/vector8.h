// Vector8: eight floats in a 256-bit register, and arithmetic that several files need the same way.
// For files compiled with at least AVX2, FMA and F16C.
//
// Everything is in an unnamed namespace: the header is compiled for several instruction sets, and
// the linker must not merge those copies.
#pragma once

#include <immintrin.h>

#include <cstddef>

namespace tandem {
namespace {

// All ones in the first `count` of 8 lanes.
inline __m256i FirstLanes(int count) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

struct Vector8 {
  static constexpr int kLanes = 8;
  using F = __m256;

  static F Zero() { return _mm256_setzero_ps(); }
  static F Set(float x) { return _mm256_set1_ps(x); }
  static F Load(const float* p) { return _mm256_loadu_ps(p); }
  static void Store(float* p, F x) { _mm256_storeu_ps(p, x); }
  static F LoadHalves(const std::byte* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static F Add(F a, F b) { return _mm256_add_ps(a, b); }
  static F Subtract(F a, F b) { return _mm256_sub_ps(a, b); }
  static F Multiply(F a, F b) { return _mm256_mul_ps(a, b); }
  static F MultiplyAdd(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static F Max(F a, F b) { return _mm256_max_ps(a, b); }
  // The lanes of a vector of any width, eight at a time, rising: added to sum, or compared with
  // max.
  static __m256 AddEights(__m256 sum, F x) { return _mm256_add_ps(sum, x); }
  static __m256 MaxEights(__m256 max, F x) { return _mm256_max_ps(max, x); }
  // x in the first `count` lanes, `other` in the rest.
  static F First(int count, F x, F other) {
    return _mm256_blendv_ps(other, x, _mm256_castsi256_ps(FirstLanes(count)));
  }

  // e^x to about 1 ulp for x in [-87, 88]; below and above, the value at that end. exp(0) is
  // exactly 1. The one exponential of the fast backend: every instruction set does these steps.
  static F Exp(F x) {
    x = _mm256_min_ps(_mm256_max_ps(x, _mm256_set1_ps(-87.0f)), _mm256_set1_ps(88.0f));
    // x = n * ln 2 + r with |r| <= ln 2 / 2; ln 2 in two parts keeps r exact enough.
    const F n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504f)),
                                _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    F r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), x);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.12194440e-4f), r);
    // Taylor to degree 7: the first term left out is below 6e-9 of the result.
    F p = _mm256_set1_ps(1.0f / 5040.0f);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 720.0f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 120.0f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 24.0f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 6.0f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0.5f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    const __m256i exponent =
        _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    return _mm256_mul_ps(p, _mm256_castsi256_ps(exponent));
  }
};

inline float HorizontalSum(__m256 v) {
  const __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 pair = _mm_add_ps(quarter, _mm_movehl_ps(quarter, quarter));
  return _mm_cvtss_f32(_mm_add_ss(pair, _mm_movehdup_ps(pair)));
}

inline float HorizontalMax(__m256 v) {
  const __m128 quarter = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 pair = _mm_max_ps(quarter, _mm_movehl_ps(quarter, quarter));
  return _mm_cvtss_f32(_mm_max_ss(pair, _mm_movehdup_ps(pair)));
}

}  // namespace
}  // namespace tandem
