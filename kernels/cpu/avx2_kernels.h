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

}  // namespace tandem::avx2
