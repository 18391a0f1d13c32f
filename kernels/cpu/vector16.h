// Vector16: sixteen floats in a 512-bit register. The same functions as Vector8, giving the same
// bits lane by lane. For files compiled with AVX-512 F, BW, DQ and VL.
#pragma once

#include "kernels/cpu/vector8.h"

namespace tandem {
namespace {

struct Vector16 {
  static constexpr int kLanes = 16;
  using F = __m512;

  static F Zero() { return _mm512_setzero_ps(); }
  static F Set(float x) { return _mm512_set1_ps(x); }
  static F Load(const float* p) { return _mm512_loadu_ps(p); }
  static void Store(float* p, F x) { _mm512_storeu_ps(p, x); }
  static F LoadHalves(const std::byte* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static F Add(F a, F b) { return _mm512_add_ps(a, b); }
  static F Subtract(F a, F b) { return _mm512_sub_ps(a, b); }
  static F Multiply(F a, F b) { return _mm512_mul_ps(a, b); }
  static F MultiplyAdd(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F Max(F a, F b) { return _mm512_max_ps(a, b); }
  static __m256 AddEights(__m256 sum, F x) {
    return _mm256_add_ps(_mm256_add_ps(sum, Low(x)), High(x));
  }
  static __m256 MaxEights(__m256 max, F x) {
    return _mm256_max_ps(_mm256_max_ps(max, Low(x)), High(x));
  }
  static F First(int count, F x, F other) {
    const unsigned lanes = count >= 16 ? 0xffffu : count <= 0 ? 0u : (1u << count) - 1;
    return _mm512_mask_blend_ps(static_cast<__mmask16>(lanes), other, x);
  }

  static F Exp(F x) {
    x = _mm512_min_ps(_mm512_max_ps(x, _mm512_set1_ps(-87.0f)), _mm512_set1_ps(88.0f));
    const F n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)),
                                     _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    F r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
    F p = _mm512_set1_ps(1.0f / 5040.0f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 720.0f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 120.0f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 24.0f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 6.0f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.5f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    const __m512i exponent =
        _mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23);
    return _mm512_mul_ps(p, _mm512_castsi512_ps(exponent));
  }

 private:
  static __m256 Low(F x) { return _mm512_castps512_ps256(x); }
  static __m256 High(F x) { return _mm512_extractf32x8_ps(x, 1); }
};

}  // namespace
}  // namespace tandem
