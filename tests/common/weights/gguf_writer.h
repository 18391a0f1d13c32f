// GgufWriter makes GGUF version 3 files in memory, sound ones and, on purpose, damaged ones. For
// tests. Not thread-safe. Nothing is checked: what is asked for is written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/weights/tensor.h"

namespace tandem {

class GgufWriter {
 public:
  struct Tensor {
    std::string name;
    uint32_t ggml_type = 0;
    std::vector<uint64_t> dimensions;  // [0] varies fastest
    std::vector<std::byte> data;
    std::optional<uint64_t> offset;  // instead of the right one
  };

  // Each of these replaces the key's value when the key is there already.
  void SetU32(absl::string_view key, uint32_t value);
  void SetU64(absl::string_view key, uint64_t value);
  void SetI32(absl::string_view key, int32_t value);
  void SetF32(absl::string_view key, float value);
  void SetBool(absl::string_view key, bool value);
  void SetString(absl::string_view key, absl::string_view value);
  void SetStrings(absl::string_view key, const std::vector<std::string>& values);
  void SetI32s(absl::string_view key, const std::vector<int32_t>& values);
  // `type` is GGUF's number, `payload` what follows it in the file.
  void SetRaw(absl::string_view key, uint32_t type, absl::string_view payload);
  // Writes the key a second time.
  void RepeatKey(absl::string_view key);
  void RemoveKey(absl::string_view key);

  void AddTensor(Tensor tensor) { tensors_.push_back(std::move(tensor)); }
  // Encodes `weights` (rows of `cols`); a vector when `rows` is 0.
  void AddWeights(absl::string_view name, DType type, int64_t cols, int64_t rows,
                  absl::Span<const float> weights);
  // The tensor of that name, which must be there; valid until tensors are added or removed.
  Tensor& tensor(absl::string_view name);
  void RemoveTensor(absl::string_view name);
  std::vector<Tensor>& tensors() { return tensors_; }

  // How tensors are placed; does not write general.alignment.
  void set_alignment(uint64_t alignment) { alignment_ = alignment; }

  // No padding follows the last tensor.
  std::vector<std::byte> Build() const;

 private:
  struct Key {
    std::string name;
    uint32_t type = 0;
    std::string payload;
  };

  std::vector<Key> keys_;
  std::vector<Tensor> tensors_;
  uint64_t alignment_ = 32;
};

absl::Status WriteBytes(const std::string& path, absl::Span<const std::byte> bytes);

}  // namespace tandem
