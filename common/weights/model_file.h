// ModelFile opens a GGUF version 3 file of a Llama-architecture model and gives its shape, its
// tokenizer's data and views of its tensors. The weights stay where they are: the file is mapped
// read-only and never copied.
//
// Everything that the file says is checked before it is used: counts, sizes, offsets, alignment,
// overlaps, and the shape of each tensor that the model needs. After a successful Open() nothing
// can be out of range. Errors name the key or the tensor and what was found: InvalidArgument for a
// damaged or contradictory file, Unimplemented for a sound one that Tandem cannot compute with,
// NotFound and the like for the file itself.
//
// Thread-safe: immutable after construction. Views live as long as the ModelFile. The file must not
// be truncated while it is open (the kernel answers a lost page with SIGBUS). Not for: other
// formats, weight values (they are not inspected), or turning tokenizer data into a tokenizer
// (common/text).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/weights/model_config.h"
#include "common/weights/tensor.h"
#include "common/weights/tokenizer_data.h"

namespace tandem {

class ModelFile {
 public:
  // Reads the whole file once, for the fingerprint; memory mapped for that is given back to the
  // kernel.
  static absl::StatusOr<std::unique_ptr<ModelFile>> Open(const std::string& path);

  // The same from memory, for tests and fuzzing: copies `bytes`. `name` stands in for a missing
  // general.name.
  static absl::StatusOr<std::unique_ptr<ModelFile>> Parse(absl::Span<const std::byte> bytes,
                                                          absl::string_view name = "model");

  ModelFile(const ModelFile&) = delete;
  ModelFile& operator=(const ModelFile&) = delete;

  const ModelConfig& config() const { return config_; }
  const TokenizerData& tokenizer() const { return tokenizer_; }

  // All tensors, in the file's order, unused ones too. Data starts at a multiple of the file's
  // alignment (32 unless it says otherwise, at least 8) from a 64-byte aligned address.
  absl::Span<const TensorView> tensors() const { return tensors_; }

  // Never null for a tensor that the model needs: token_embd.weight, output_norm.weight and, for N
  // in [0, num_layers),
  // blk.N.{attn_norm,attn_q,attn_k,attn_v,attn_output,ffn_norm,ffn_gate,ffn_up,ffn_down}.weight,
  // with the shapes that config() demands. Norms are vectors (rows == 1); any tensor may have any
  // DType.
  const TensorView* FindTensor(absl::string_view name) const;
  absl::StatusOr<TensorView> tensor(absl::string_view name) const;

  // The LM head: output.weight, or token_embd.weight when the two are tied.
  const TensorView& lm_head() const;
  bool tied_lm_head() const { return FindTensor("output.weight") == nullptr; }

  uint64_t file_bytes() const { return bytes_.size(); }

  // 32 hex digits that are equal for equal shape, vocabulary and weights, wherever and in whatever
  // order a file keeps them. Name and chat template do not count. Not cryptographic: it tells
  // models apart, it does not authenticate them.
  const std::string& fingerprint() const { return fingerprint_; }

 private:
  ModelFile() = default;
  static absl::StatusOr<std::unique_ptr<ModelFile>> FromBytes(std::shared_ptr<const void> owner,
                                                              absl::Span<const std::byte> bytes,
                                                              absl::string_view name);

  std::shared_ptr<const void> owner_;  // keeps bytes_ mapped or allocated
  absl::Span<const std::byte> bytes_;
  ModelConfig config_;
  TokenizerData tokenizer_;
  std::vector<TensorView> tensors_;
  absl::flat_hash_map<std::string, size_t> index_;  // name -> position in tensors_
  std::string fingerprint_;
};

}  // namespace tandem
