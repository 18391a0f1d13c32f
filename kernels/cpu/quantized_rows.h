// QuantizedRows: activations as int8, in blocks of 32 values that share a scale. What the quantized
// matmuls of every instruction set read.
//
//   x ~ scale * (q + rest / 128)
//
// A few input features of a trained model are tens of times larger than the others, and nearly all
// of the error of 8 bits comes from the blocks that hold them. Those blocks, and only those, are
// refined by a second term: `rest` is what rounding to q left over, in 128ths. Whether a block is
// refined depends on its own row alone.
//
// Plain pointers; the memory is the backend's. Only standard C headers: this header is read by
// files compiled for different instruction sets.
#pragma once

#include <cstdint>

namespace tandem {

struct QuantizedRows {
  int blocks = 0;                // in each row
  int8_t* q = nullptr;           // [rows][blocks * 32]
  int32_t* q_sum = nullptr;      // [rows][blocks]: the sum of a block's q
  float* scale = nullptr;        // [rows][blocks]
  float* sum = nullptr;          // [rows][blocks]: scale times the sum of q + rest / 128
  int* refined = nullptr;        // [rows]: how many blocks have a second term
  int* refined_block = nullptr;  // [rows][blocks]: which ones, rising; the first `refined` count
  int8_t* rest =
      nullptr;  // [rows][blocks * 32]: their second terms, one after the other; [-64, 64]
};

}  // namespace tandem
