#include "common/weights/model_file.h"

#include <cstring>
#include <filesystem>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/weights/fingerprint.h"
#include "common/weights/gguf_parser.h"
#include "common/weights/llama_config.h"
#include "common/weights/mapped_file.h"
#include "common/weights/tokenizer_reader.h"

namespace tandem {
namespace {

constexpr std::align_val_t kAlignment{64};
constexpr absl::string_view kEmbedding = "token_embd.weight";
constexpr absl::string_view kHead = "output.weight";

}  // namespace

absl::StatusOr<std::unique_ptr<ModelFile>> ModelFile::Open(const std::string& path) {
  ASSIGN_OR_RETURN(const std::shared_ptr<const MappedFile> file, MappedFile::Open(path));
  absl::StatusOr<std::unique_ptr<ModelFile>> model =
      FromBytes(file, file->bytes(), std::filesystem::path(path).stem().string());
  if (!model.ok()) return WithContext(model.status(), absl::StrCat("model file ", path));
  file->ReleasePages();
  return model;
}

absl::StatusOr<std::unique_ptr<ModelFile>> ModelFile::Parse(absl::Span<const std::byte> bytes,
                                                            absl::string_view name) {
  void* const copy = ::operator new(bytes.size(), kAlignment);
  std::shared_ptr<void> owner(copy, [](void* memory) { ::operator delete(memory, kAlignment); });
  if (!bytes.empty()) std::memcpy(copy, bytes.data(), bytes.size());
  return FromBytes(std::move(owner), {static_cast<const std::byte*>(copy), bytes.size()}, name);
}

absl::StatusOr<std::unique_ptr<ModelFile>> ModelFile::FromBytes(std::shared_ptr<const void> owner,
                                                                absl::Span<const std::byte> bytes,
                                                                absl::string_view name) {
  std::unique_ptr<ModelFile> model(new ModelFile());
  model->owner_ = std::move(owner);
  model->bytes_ = bytes;
  ASSIGN_OR_RETURN(GgufContents contents, ParseGguf(bytes));
  // The architecture first: a file of another kind should be told so, not that its tokenizer is
  // odd.
  RETURN_IF_ERROR(CheckArchitecture(contents.metadata));
  ASSIGN_OR_RETURN(model->tokenizer_, ReadTokenizerData(contents.metadata));
  ASSIGN_OR_RETURN(
      model->config_,
      ReadLlamaConfig(contents.metadata, static_cast<int>(model->tokenizer_.tokens.size()), name));
  RETURN_IF_ERROR(CheckLlamaTensors(model->config_, contents.tensors));
  model->tensors_.reserve(contents.tensors.size());
  for (GgufTensor& tensor : contents.tensors) {
    model->index_.emplace(tensor.view.name, model->tensors_.size());
    model->tensors_.push_back(std::move(tensor.view));
  }
  model->fingerprint_ = ModelFingerprint(model->config_, model->tokenizer_, model->tensors_);
  return model;
}

const TensorView* ModelFile::FindTensor(absl::string_view name) const {
  const auto it = index_.find(name);
  return it == index_.end() ? nullptr : &tensors_[it->second];
}

absl::StatusOr<TensorView> ModelFile::tensor(absl::string_view name) const {
  const TensorView* const found = FindTensor(name);
  if (found == nullptr) {
    return absl::NotFoundError(absl::StrCat("tensor ", QuotedName(name), ": missing"));
  }
  return *found;
}

const TensorView& ModelFile::lm_head() const {
  const TensorView* head = FindTensor(kHead);
  if (head == nullptr) head = FindTensor(kEmbedding);
  TANDEM_CHECK(head != nullptr);
  return *head;
}

}  // namespace tandem
