// ModelConfig is the shape of a Llama-style decoder, as its file states it. Plain data.
#pragma once

#include <cstdint>
#include <string>

namespace tandem {

struct ModelConfig {
  std::string name;          // general.name, or the file's stem
  std::string architecture;  // "llama"
  int num_layers = 0;
  int hidden_size = 0;   // embedding length
  int ffn_size = 0;      // feed-forward (intermediate) length
  int num_heads = 0;     // query heads
  int num_kv_heads = 0;  // divides num_heads (GQA)
  int head_dim = 0;
  int rope_dim = 0;  // leading dimensions of a head that are rotated; even, <= head_dim
  float rope_theta = 10000.0f;
  float rms_norm_eps = 1e-5f;
  int vocab_size = 0;
  int context_length = 0;  // trained context, tokens
};

}  // namespace tandem
