// The matmul loops of the fast CPU backend, one set for each instruction set: plain functions over
// pointers, which own nothing, allocate nothing and may be called by any thread.
//
// Each multiplies one group of 16 output features (see packed_weights.h) with rows [row_begin,
// row_end) and writes out[row * out_stride + f] for f < features <= 16. An output element is
// computed by one fixed sequence of operations, the same in every set, so that all sets give the
// same bits:
//   quantized: for each block in rising order, result = fma(dot, d * scale, result), and for
//   nibbles
//              result = fma(minimum, sum, result); then for each refined block of the row in rising
//              order, result = fma(rest_dot, d * (scale / 128), result). dot and rest_dot are exact
//              integers, rounded to float.
//   floats:    fma over the even input features, fma over the odd ones, then the sum of the two.
//
// Only standard C headers: this header is read by files compiled for different instruction sets.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/quantized_rows.h"

namespace tandem {

struct GroupOutput {
  float* out = nullptr;
  int64_t out_stride = 0;
  int features = 16;
};

using QuantizedMatMul = void (*)(const std::byte* group, const QuantizedRows& x, int row_begin,
                                 int row_end, const GroupOutput& output);
using FloatMatMul = void (*)(const std::byte* group, const float* x, int cols, int row_begin,
                             int row_end, const GroupOutput& output);

struct MatMulKernels {
  QuantizedMatMul nibbles;
  QuantizedMatMul bytes;
  FloatMatMul f32;
  FloatMatMul f16;
  FloatMatMul bf16;
};

namespace avx2 {
extern const MatMulKernels kMatMul;
}
namespace avx512 {
extern const MatMulKernels kMatMul;  // wants AVX-512 F, BW, VL and VNNI
}

}  // namespace tandem
