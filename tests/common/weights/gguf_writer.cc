#include "tests/common/weights/gguf_writer.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/weights/gguf_metadata.h"
#include "tests/common/weights/quantize.h"

namespace tandem {
namespace {

template <class T>
std::string Encoded(T value) {
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

std::string EncodedString(absl::string_view text) {
  return absl::StrCat(Encoded<uint64_t>(text.size()), text);
}

std::string ArrayStart(GgufType type, uint64_t count) {
  return Encoded(static_cast<uint32_t>(type)) + Encoded(count);
}

constexpr uint32_t Number(GgufType type) { return static_cast<uint32_t>(type); }

uint32_t GgmlNumber(DType type) {
  switch (type) {
    case DType::kF32:
      return 0;
    case DType::kF16:
      return 1;
    case DType::kQ4_0:
      return 2;
    case DType::kQ4_1:
      return 3;
    case DType::kQ8_0:
      return 8;
    case DType::kBF16:
      return 30;
  }
  return ~0u;
}

}  // namespace

void GgufWriter::SetRaw(absl::string_view key, uint32_t type, absl::string_view payload) {
  const auto it = std::find_if(keys_.begin(), keys_.end(),
                               [key](const Key& existing) { return existing.name == key; });
  Key& target = it == keys_.end() ? keys_.emplace_back() : *it;
  target = {std::string(key), type, std::string(payload)};
}

void GgufWriter::SetU32(absl::string_view key, uint32_t value) {
  SetRaw(key, Number(GgufType::kUint32), Encoded(value));
}
void GgufWriter::SetU64(absl::string_view key, uint64_t value) {
  SetRaw(key, Number(GgufType::kUint64), Encoded(value));
}
void GgufWriter::SetI32(absl::string_view key, int32_t value) {
  SetRaw(key, Number(GgufType::kInt32), Encoded(value));
}
void GgufWriter::SetF32(absl::string_view key, float value) {
  SetRaw(key, Number(GgufType::kFloat32), Encoded(value));
}
void GgufWriter::SetBool(absl::string_view key, bool value) {
  SetRaw(key, Number(GgufType::kBool), Encoded<uint8_t>(value));
}
void GgufWriter::SetString(absl::string_view key, absl::string_view value) {
  SetRaw(key, Number(GgufType::kString), EncodedString(value));
}

void GgufWriter::SetStrings(absl::string_view key, const std::vector<std::string>& values) {
  std::string payload = ArrayStart(GgufType::kString, values.size());
  for (const std::string& value : values) payload += EncodedString(value);
  SetRaw(key, Number(GgufType::kArray), payload);
}

void GgufWriter::SetI32s(absl::string_view key, const std::vector<int32_t>& values) {
  std::string payload = ArrayStart(GgufType::kInt32, values.size());
  for (int32_t value : values) payload += Encoded(value);
  SetRaw(key, Number(GgufType::kArray), payload);
}

void GgufWriter::RepeatKey(absl::string_view key) {
  const auto it = std::find_if(keys_.begin(), keys_.end(),
                               [key](const Key& existing) { return existing.name == key; });
  TANDEM_CHECK(it != keys_.end());
  const Key copy = *it;
  keys_.push_back(copy);
}

void GgufWriter::RemoveKey(absl::string_view key) {
  std::erase_if(keys_, [key](const Key& existing) { return existing.name == key; });
}

void GgufWriter::AddWeights(absl::string_view name, DType type, int64_t cols, int64_t rows,
                            absl::Span<const float> weights) {
  Tensor tensor;
  tensor.name = std::string(name);
  tensor.ggml_type = GgmlNumber(type);
  tensor.dimensions = {static_cast<uint64_t>(cols)};
  if (rows > 0) tensor.dimensions.push_back(static_cast<uint64_t>(rows));
  tensor.data = EncodeWeights(type, weights);
  AddTensor(std::move(tensor));
}

GgufWriter::Tensor& GgufWriter::tensor(absl::string_view name) {
  const auto it = std::find_if(tensors_.begin(), tensors_.end(),
                               [name](const Tensor& tensor) { return tensor.name == name; });
  TANDEM_CHECK(it != tensors_.end());
  return *it;
}

void GgufWriter::RemoveTensor(absl::string_view name) {
  std::erase_if(tensors_, [name](const Tensor& tensor) { return tensor.name == name; });
}

std::vector<std::byte> GgufWriter::Build() const {
  const auto aligned = [this](uint64_t offset) {
    return (offset + alignment_ - 1) / alignment_ * alignment_;
  };
  std::string file = absl::StrCat("GGUF", Encoded<uint32_t>(3), Encoded<uint64_t>(tensors_.size()),
                                  Encoded<uint64_t>(keys_.size()));
  for (const Key& key : keys_) {
    absl::StrAppend(&file, EncodedString(key.name), Encoded(key.type), key.payload);
  }
  uint64_t offset = 0;
  for (const Tensor& tensor : tensors_) {
    absl::StrAppend(&file, EncodedString(tensor.name),
                    Encoded(static_cast<uint32_t>(tensor.dimensions.size())));
    for (uint64_t size : tensor.dimensions) file += Encoded(size);
    file += Encoded(tensor.ggml_type);
    file += Encoded(tensor.offset.value_or(offset));
    offset = aligned(offset + tensor.data.size());
  }
  for (const Tensor& tensor : tensors_) {
    file.resize(aligned(file.size()), '\0');
    file.append(reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size());
  }
  const auto* bytes = reinterpret_cast<const std::byte*>(file.data());
  return {bytes, bytes + file.size()};
}

absl::Status WriteBytes(const std::string& path, absl::Span<const std::byte> bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(reinterpret_cast<const char*>(bytes.data()),
            static_cast<std::streamsize>(bytes.size()));
  out.close();
  if (!out) return absl::UnavailableError(absl::StrCat("cannot write ", path));
  return absl::OkStatus();
}

}  // namespace tandem
