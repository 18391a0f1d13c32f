// A 128-bit digest of a model. Internal to common/weights.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/weights/model_config.h"
#include "common/weights/tensor.h"
#include "common/weights/tokenizer_data.h"

namespace tandem {

// Two independent 64-bit lanes of folded 64x64-bit multiplications over the same words; about 5
// GB/s. Tells different inputs apart by chance of 2^-128; whoever crafts an input can make it
// collide. Not thread-safe.
class Digest128 {
 public:
  void AddInteger(uint64_t value);
  // Length and content, so that ("ab", "c") and ("a", "bc") differ.
  void AddBytes(absl::Span<const std::byte> bytes);
  void AddText(absl::string_view text);
  std::string Hex() const;  // 32 digits; more may be added afterwards

 private:
  void Absorb(uint64_t word);

  uint64_t low_ = 0x243f6a8885a308d3;
  uint64_t high_ = 0x13198a2e03707344;
};

// See ModelFile::fingerprint().
std::string ModelFingerprint(const ModelConfig& config, const TokenizerData& tokenizer,
                             absl::Span<const TensorView> tensors);

}  // namespace tandem
