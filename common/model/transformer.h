// Transformer: a Llama-style decoder (RMS norm, rotary embedding, grouped-query attention, SwiGLU)
// as calls of a Backend. It owns the packed weights and the activations, which are allocated once;
// the KV cache is the caller's.
//
// Used by one thread at a time, that of its backend. Not for: choosing tokens, block tables,
// knowing which KV is valid. Invariant: a row's KV and logits do not depend on the other rows of
// the batch (the backend's numeric rule).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/model/forward_batch.h"
#include "common/weights/model_config.h"
#include "common/weights/model_file.h"
#include "kernels/backend.h"

namespace tandem {

// KV of `layer` of every row has been given to the backend.
using LayerSink = absl::FunctionRef<void(int layer)>;
// Asked between two layers: which sequences of the batch (by their index) to compute no further.
using UnwantedSource = absl::FunctionRef<std::vector<int32_t>()>;
// Logits of logit_rows[first ..], one vocabulary after the other; the memory is reused after the
// call.
using LogitsSink = absl::FunctionRef<void(int first, absl::Span<const float> logits)>;
using LoadProgress = std::function<void(int64_t done_bytes, int64_t total_bytes)>;

class Transformer {
 public:
  // Packs the weights, which takes seconds on large models, and tells `progress` after each matrix.
  // `file` is not used after the call; `backend` outlives the result.
  static absl::StatusOr<std::unique_ptr<Transformer>> Load(const ModelFile& file, Backend* backend,
                                                           int max_batch_tokens,
                                                           const LoadProgress& progress);

  // Names the KV cache of all later passes; it outlives them. Called again, it replaces the earlier
  // one.
  absl::Status BindKvCache(const KvCacheView& cache);

  // Computes KV for every row of the batch, and logits for `logit_rows` alone: without any, the LM
  // head and the end of the last layer are not computed at all. `on_layer` hears of the layers in
  // order, as soon as their KV is on its way; it calls WaitForKv before anyone else may read it.
  // Rows of sequences that `unwanted` names are left out of the layers after, and of the logit
  // rows; when none is left the pass ends. `on_logits` hears of all logit rows, in order, a few at
  // a time. Returns INVALID_ARGUMENT when a token is outside the vocabulary; nothing was computed
  // then. REQUIRES: 0 < batch.num_rows() <= max_batch_tokens(); block ids exist in the cache.
  absl::Status Forward(
      ForwardBatch batch, LayerSink on_layer, LogitsSink on_logits,
      UnwantedSource unwanted = [] { return std::vector<int32_t>(); });

  // Returns when the KV given to the backend so far can be read by the host.
  void WaitForKv() { backend_.Synchronize(); }

  const ModelConfig& config() const { return config_; }
  int max_batch_tokens() const { return max_batch_tokens_; }
  int64_t weight_bytes() const { return weight_bytes_; }

  // Floats of activation memory, on the backend's side, that `config` needs.
  static int64_t ActivationFloats(const ModelConfig& config, int max_batch_tokens);

 private:
  struct Layer {
    std::unique_ptr<FloatBuffer> attention_norm, ffn_norm;
    std::unique_ptr<PackedMatrix> q, k, v, attention_out, gate, up, down;
  };
  // Row-major [max_batch_tokens, width].
  struct Activations {
    std::unique_ptr<FloatBuffer> residual, normed, delta, q, k, v, attended, gate, up;
    std::unique_ptr<FloatBuffer> wanted;  // the residuals of the logit rows
    std::unique_ptr<FloatBuffer> logits;  // [kLogitRows, vocab_size]
  };
  class Loader;

  Transformer(const ModelConfig& config, Backend* backend, int max_batch_tokens);
  void AllocateActivations();
  absl::Status CheckBatch(const ForwardBatch& batch) const;
  void BeginStep(const ForwardBatch& batch);
  // Leaves the rows of these sequences out of the batch and of the residuals.
  void DropSequences(absl::Span<const int32_t> sequences, ForwardBatch* batch);
  // The half of a layer after attention; `attended` and `residual` hold `rows` rows.
  void FinishLayer(const Layer& layer, const float* attended, int rows, float* residual);
  void ComputeLogits(int rows, LogitsSink on_logits);

  const ModelConfig config_;
  Backend& backend_;
  const int max_batch_tokens_;
  int64_t num_blocks_ = 0;  // of the bound cache
  int64_t weight_bytes_ = 0;
  std::unique_ptr<PackedMatrix> embedding_;
  std::unique_ptr<PackedMatrix> separate_head_;  // null when the LM head is the embedding
  std::unique_ptr<FloatBuffer> output_norm_;
  std::vector<Layer> layers_;
  Activations activations_;
  std::vector<float> host_logits_;
};

}  // namespace tandem
