// Folding, after V. Gopal et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ
// Instruction" (Intel white paper, 2009), on vectors of several 128-bit lanes.
//
// The bytes are one polynomial over GF(2), the first bit its highest power, and only its remainder
// modulo P counts. So a lane that stands D bits before another may be replaced by (lane * x^D mod
// P) added to that other one: two multiplications by constants. Eight vectors are folded ahead at
// once, because a multiplication takes about eight cycles but starts every one. What is left is one
// vector with the remainder of all, and the crc32 instruction reduces that.
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "common/base/crc32c_paths.h"

namespace tandem {
namespace {

constexpr uint32_t kReflectedPolynomial = 0x82f63b78;
constexpr size_t kVectors = 8;

// x^power mod P, bits reflected: the lowest is that of x^31.
constexpr uint32_t PowerOfX(int power) {
  uint32_t value = uint32_t{1} << 31;
  for (; power > 0; --power) value = (value >> 1) ^ ((value & 1) ? kReflectedPolynomial : 0);
  return value;
}

// The factors that move a lane by kBytes. The product of two reflected 64-bit numbers comes out one
// bit low in 128, that is, times x: hence one power less. The lane's low half holds its high
// powers.
template <size_t kBytes>
struct Move {
  static constexpr int kBits = 8 * kBytes;
  static constexpr auto kLow = static_cast<int64_t>(uint64_t{PowerOfX(kBits + 63)} << 32);
  static constexpr auto kHigh = static_cast<int64_t>(uint64_t{PowerOfX(kBits - 1)} << 32);
};

#define TANDEM_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,vpclmulqdq")))
#define TANDEM_AVX2 __attribute__((target("avx2,vpclmulqdq")))

// `ahead` plus `from`, which stands kBytes before it.
template <size_t kBytes>
TANDEM_AVX512 inline __m512i Fold(__m512i from, __m512i ahead) {
  using M = Move<kBytes>;
  const __m512i factors =
      _mm512_set_epi64(M::kHigh, M::kLow, M::kHigh, M::kLow, M::kHigh, M::kLow, M::kHigh, M::kLow);
  constexpr int kXorOfThree = 0x96;
  return _mm512_ternarylogic_epi64(_mm512_clmulepi64_epi128(from, factors, 0x00),
                                   _mm512_clmulepi64_epi128(from, factors, 0x11), ahead,
                                   kXorOfThree);
}

template <size_t kBytes>
TANDEM_AVX2 inline __m256i Fold(__m256i from, __m256i ahead) {
  using M = Move<kBytes>;
  const __m256i factors = _mm256_set_epi64x(M::kHigh, M::kLow, M::kHigh, M::kLow);
  const __m256i products = _mm256_xor_si256(_mm256_clmulepi64_epi128(from, factors, 0x00),
                                            _mm256_clmulepi64_epi128(from, factors, 0x11));
  return _mm256_xor_si256(products, ahead);
}

// Not loadu: g++ makes two loads of 16 bytes of that unless it is tuned for one processor.
TANDEM_AVX2 inline __m256i Load32(const uint8_t* data) {
  return _mm256_lddqu_si256(reinterpret_cast<const __m256i*>(data));
}

// Of what is four strides ahead: a tenth faster when the bytes come from memory, where this loop
// outruns the processor's own prefetching. Past the end it does no harm: it never faults.
inline void Prefetch(const uint8_t* data) {
  constexpr uintptr_t kAhead = 2048;
  _mm_prefetch(reinterpret_cast<const char*>(reinterpret_cast<uintptr_t>(data) + kAhead),
               _MM_HINT_T0);
}

bool Streams(const uint8_t* to) { return reinterpret_cast<uintptr_t>(to) % kStreamAlignment == 0; }

// With a copy every byte is loaded once: what is stored is what was folded.
template <bool kCopy>
TANDEM_AVX512 uint32_t WithAvx512(uint32_t crc, const uint8_t* data, size_t size, uint8_t* to) {
  constexpr size_t kWidth = sizeof(__m512i);
  constexpr size_t kStride = kVectors * kWidth;
  if (size < kStride) {
    return kCopy ? CopyWithSse42(crc, data, size, to) : ExtendWithSse42(crc, data, size);
  }
  __m512i sums[kVectors];
  for (size_t i = 0; i < kVectors; ++i) {
    sums[i] = _mm512_loadu_si512(data + i * kWidth);
    if (kCopy) _mm512_stream_si512(reinterpret_cast<__m512i*>(to + i * kWidth), sums[i]);
  }
  const __m128i before = _mm_cvtsi32_si128(static_cast<int>(crc));
  sums[0] = _mm512_xor_si512(sums[0], _mm512_zextsi128_si512(before));
  for (data += kStride, size -= kStride; size >= kStride; data += kStride, size -= kStride) {
    if (kCopy) to += kStride;
    for (size_t i = 0; i < kVectors; ++i) {
      Prefetch(data + i * kWidth);
      const __m512i next = _mm512_loadu_si512(data + i * kWidth);
      if (kCopy) _mm512_stream_si512(reinterpret_cast<__m512i*>(to + i * kWidth), next);
      sums[i] = Fold<kStride>(sums[i], next);
    }
  }
  for (size_t i = 0; i < 4; ++i) sums[i] = Fold<4 * kWidth>(sums[i], sums[i + 4]);
  for (size_t i = 0; i < 2; ++i) sums[i] = Fold<2 * kWidth>(sums[i], sums[i + 2]);
  alignas(kWidth) uint8_t rest[kWidth];
  _mm512_store_si512(rest, Fold<kWidth>(sums[0], sums[1]));
  crc = ExtendWithSse42(0, rest, kWidth);
  if (!kCopy) return ExtendWithSse42(crc, data, size);
  _mm_sfence();
  return CopyWithSse42(crc, data, size, to + kStride);
}

template <bool kCopy>
TANDEM_AVX2 uint32_t WithAvx2(uint32_t crc, const uint8_t* data, size_t size, uint8_t* to) {
  constexpr size_t kWidth = sizeof(__m256i);
  constexpr size_t kStride = kVectors * kWidth;
  if (size < kStride) {
    return kCopy ? CopyWithSse42(crc, data, size, to) : ExtendWithSse42(crc, data, size);
  }
  __m256i sums[kVectors];
  for (size_t i = 0; i < kVectors; ++i) {
    sums[i] = Load32(data + i * kWidth);
    if (kCopy) _mm256_stream_si256(reinterpret_cast<__m256i*>(to + i * kWidth), sums[i]);
  }
  const __m128i before = _mm_cvtsi32_si128(static_cast<int>(crc));
  sums[0] = _mm256_xor_si256(sums[0], _mm256_zextsi128_si256(before));
  for (data += kStride, size -= kStride; size >= kStride; data += kStride, size -= kStride) {
    if (kCopy) to += kStride;
    for (size_t i = 0; i < kVectors; ++i) {
      const __m256i next = Load32(data + i * kWidth);
      if (kCopy) _mm256_stream_si256(reinterpret_cast<__m256i*>(to + i * kWidth), next);
      sums[i] = Fold<kStride>(sums[i], next);
    }
  }
  for (size_t i = 0; i < 4; ++i) sums[i] = Fold<4 * kWidth>(sums[i], sums[i + 4]);
  for (size_t i = 0; i < 2; ++i) sums[i] = Fold<2 * kWidth>(sums[i], sums[i + 2]);
  alignas(kWidth) uint8_t rest[kWidth];
  _mm256_store_si256(reinterpret_cast<__m256i*>(rest), Fold<kWidth>(sums[0], sums[1]));
  crc = ExtendWithSse42(0, rest, kWidth);
  if (!kCopy) return ExtendWithSse42(crc, data, size);
  _mm_sfence();
  return CopyWithSse42(crc, data, size, to + kStride);
}

}  // namespace

// __builtin_cpu_supports counts vector features only if the system saves their registers (XCR0).
bool HasAvx512Clmul() {
  return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("avx512f") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("vpclmulqdq");
}

bool HasAvx2Clmul() {
  return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("avx2") &&
         __builtin_cpu_supports("vpclmulqdq");
}

TANDEM_AVX512 uint32_t ExtendWithAvx512(uint32_t crc, const uint8_t* data, size_t size) {
  return WithAvx512<false>(crc, data, size, nullptr);
}

uint32_t CopyWithAvx512(uint32_t crc, const uint8_t* data, size_t size, uint8_t* to) {
  if (!Streams(to)) return CopyWithSse42(crc, data, size, to);
  return WithAvx512<true>(crc, data, size, to);
}

TANDEM_AVX2 uint32_t ExtendWithAvx2(uint32_t crc, const uint8_t* data, size_t size) {
  return WithAvx2<false>(crc, data, size, nullptr);
}

uint32_t CopyWithAvx2(uint32_t crc, const uint8_t* data, size_t size, uint8_t* to) {
  if (!Streams(to)) return CopyWithSse42(crc, data, size, to);
  return WithAvx2<true>(crc, data, size, to);
}

#undef TANDEM_AVX512
#undef TANDEM_AVX2

}  // namespace tandem
