// Random Llama models of a few kilobytes, with a working byte-level BPE tokenizer and a ChatML
// template. For tests: what a real model file has, small enough to make on the spot. The same
// options give the same bytes on every machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/weights/tensor.h"
#include "tests/common/weights/gguf_writer.h"

namespace tandem {

struct TinyModelOptions {
  int layers = 2;
  int hidden = 64;  // divided by heads; with kv_heads * hidden / heads and ffn: multiples of 32
                    // when dtype is a quantized one
  int ffn = 96;
  int heads = 4;
  int kv_heads = 2;  // divides heads
  int vocab = 320;   // at least 259: three special tokens and the 256 byte symbols; merges fill it
  int context = 512;
  DType dtype = DType::kF32;  // of matrices; norms are F32
  bool tied = true;           // no output.weight
  uint64_t seed = 1;
};

// Ids of every tiny model: specials first, then the byte symbols in byte order, then merged tokens.
inline constexpr int kTinyEndOfText = 0;  // <|endoftext|>, unknown
inline constexpr int kTinyTurnStart = 1;  // <|im_start|>, BOS (not added)
inline constexpr int kTinyTurnEnd = 2;    // <|im_end|>, EOS and padding
inline constexpr int kTinyFirstByte = 3;

// Weights are scaled so that activations stay near 1 and logits spread by about 2.
GgufWriter TinyModelWriter(const TinyModelOptions& options);
std::vector<std::byte> TinyModelBytes(const TinyModelOptions& options);
absl::Status WriteTinyModel(const std::string& path, const TinyModelOptions& options);

}  // namespace tandem
