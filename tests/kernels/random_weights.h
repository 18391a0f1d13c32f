// Random weights and activations for the kernel tests, the same on every run.
#pragma once

#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/backend.h"

namespace tandem {

// Owns the bytes that a WeightView shows.
struct RandomWeights {
  RandomWeights(WeightType type, int64_t rows, int64_t cols, uint32_t seed)
      : type(type), rows(rows), cols(cols) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0.0f, 0.1f);
    const int block = WeightBlockSize(type);
    const int block_bytes = WeightBlockBytes(type);
    bytes.resize(rows * cols / block * block_bytes);
    for (size_t at = 0; at < bytes.size(); at += block_bytes) {
      std::byte* out = bytes.data() + at;
      const float value = normal(random);
      if (type == WeightType::kF32) {
        std::memcpy(out, &value, 4);
      } else if (type == WeightType::kF16) {
        StoreHalf(value, out);
      } else if (type == WeightType::kBF16) {
        std::memcpy(out, reinterpret_cast<const std::byte*>(&value) + 2, 2);  // little-endian
      } else {
        for (int i = 0; i < block_bytes; ++i) out[i] = static_cast<std::byte>(random());
        StoreHalf(value * (type == WeightType::kQ8_0 ? 0.01f : 0.1f), out);
        if (type == WeightType::kQ4_1) StoreHalf(normal(random), out + 2);
      }
    }
  }

  WeightView view() const { return {type, rows, cols, bytes}; }

  static void StoreHalf(float value, std::byte* out) {
    const uint16_t half = FloatToHalf(value);
    std::memcpy(out, &half, 2);
  }

  WeightType type;
  int64_t rows;
  int64_t cols;
  std::vector<std::byte> bytes;
};

inline std::vector<float> RandomFloats(int64_t count, uint32_t seed, float deviation = 1.0f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, deviation);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

inline constexpr WeightType kAllWeightTypes[] = {WeightType::kF32,  WeightType::kF16,
                                                 WeightType::kBF16, WeightType::kQ8_0,
                                                 WeightType::kQ4_0, WeightType::kQ4_1};

}  // namespace tandem
