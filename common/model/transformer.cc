#include "common/model/transformer.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"

namespace tandem {
namespace {

// Logit rows computed at a time: enough to share one pass over the LM head, few enough to keep a
// large vocabulary small.
constexpr int kLogitRows = 16;

int QueryDim(const ModelConfig& c) { return c.num_heads * c.head_dim; }
int KvDim(const ModelConfig& c) { return c.num_kv_heads * c.head_dim; }

WeightType ToWeightType(DType type) {
  switch (type) {
    case DType::kF32:
      return WeightType::kF32;
    case DType::kF16:
      return WeightType::kF16;
    case DType::kBF16:
      return WeightType::kBF16;
    case DType::kQ8_0:
      return WeightType::kQ8_0;
    case DType::kQ4_0:
      return WeightType::kQ4_0;
    case DType::kQ4_1:
      return WeightType::kQ4_1;
  }
  CheckFailed(__FILE__, __LINE__, "DType", "unknown");
}

WeightView ToWeightView(const TensorView& t) {
  return {.type = ToWeightType(t.type), .rows = t.rows, .cols = t.cols, .data = t.data};
}

}  // namespace

// Packs one tensor after the other and keeps the account of it.
class Transformer::Loader {
 public:
  Loader(const ModelFile& file, Transformer& target, const LoadProgress& progress)
      : file_(file), target_(target), progress_(progress) {
    for (const TensorView& tensor : file.tensors()) total_bytes_ += tensor.data.size();
  }

  absl::Status LoadAll() {
    RETURN_IF_ERROR(Matrix("token_embd.weight", target_.embedding_));
    if (!file_.tied_lm_head()) RETURN_IF_ERROR(Matrix("output.weight", target_.separate_head_));
    RETURN_IF_ERROR(Vector("output_norm.weight", target_.output_norm_));
    target_.layers_.resize(target_.config_.num_layers);
    for (size_t i = 0; i < target_.layers_.size(); ++i) {
      RETURN_IF_ERROR(LoadLayer(absl::StrCat("blk.", i, "."), target_.layers_[i]));
    }
    return absl::OkStatus();
  }

 private:
  absl::Status LoadLayer(const std::string& prefix, Layer& layer) {
    RETURN_IF_ERROR(Vector(prefix + "attn_norm.weight", layer.attention_norm));
    RETURN_IF_ERROR(Matrix(prefix + "attn_q.weight", layer.q));
    RETURN_IF_ERROR(Matrix(prefix + "attn_k.weight", layer.k));
    RETURN_IF_ERROR(Matrix(prefix + "attn_v.weight", layer.v));
    RETURN_IF_ERROR(Matrix(prefix + "attn_output.weight", layer.attention_out));
    RETURN_IF_ERROR(Vector(prefix + "ffn_norm.weight", layer.ffn_norm));
    RETURN_IF_ERROR(Matrix(prefix + "ffn_gate.weight", layer.gate));
    RETURN_IF_ERROR(Matrix(prefix + "ffn_up.weight", layer.up));
    return Matrix(prefix + "ffn_down.weight", layer.down);
  }

  absl::Status Matrix(const std::string& name, std::unique_ptr<PackedMatrix>& out) {
    ASSIGN_OR_RETURN(const TensorView tensor, file_.tensor(name));
    auto packed = target_.backend_.Pack(ToWeightView(tensor));
    if (!packed.ok()) return WithContext(packed.status(), name);
    out = *std::move(packed);
    target_.weight_bytes_ += out->bytes();
    Report(tensor);
    return absl::OkStatus();
  }

  absl::Status Vector(const std::string& name, std::unique_ptr<FloatBuffer>& out) {
    ASSIGN_OR_RETURN(const TensorView tensor, file_.tensor(name));
    auto loaded = target_.backend_.LoadVector(ToWeightView(tensor));
    if (!loaded.ok()) return WithContext(loaded.status(), name);
    out = *std::move(loaded);
    target_.weight_bytes_ += out->size() * sizeof(float);
    Report(tensor);
    return absl::OkStatus();
  }

  void Report(const TensorView& loaded) {
    done_bytes_ += loaded.data.size();
    if (progress_) progress_(done_bytes_, total_bytes_);
  }

  const ModelFile& file_;
  Transformer& target_;
  const LoadProgress& progress_;
  int64_t done_bytes_ = 0;
  int64_t total_bytes_ = 0;
};

absl::StatusOr<std::unique_ptr<Transformer>> Transformer::Load(const ModelFile& file,
                                                               Backend* backend,
                                                               int max_batch_tokens,
                                                               const LoadProgress& progress) {
  std::unique_ptr<Transformer> transformer(
      new Transformer(file.config(), backend, max_batch_tokens));
  RETURN_IF_ERROR(Loader(file, *transformer, progress).LoadAll());
  transformer->AllocateActivations();
  return transformer;
}

Transformer::Transformer(const ModelConfig& config, Backend* backend, int max_batch_tokens)
    : config_(config), backend_(*backend), max_batch_tokens_(max_batch_tokens) {
  TANDEM_CHECK(max_batch_tokens > 0);
}

int64_t Transformer::ActivationFloats(const ModelConfig& c, int max_batch_tokens) {
  const int64_t row = 4 * int64_t{c.hidden_size} + 2 * QueryDim(c) + 2 * KvDim(c) + 2 * c.ffn_size;
  return row * max_batch_tokens + int64_t{kLogitRows} * c.vocab_size;
}

void Transformer::AllocateActivations() {
  const auto rows_of = [&](int64_t width) {
    return backend_.AllocateFloats(max_batch_tokens_ * width);
  };
  Activations& a = activations_;
  a.residual = rows_of(config_.hidden_size);
  a.normed = rows_of(config_.hidden_size);
  a.delta = rows_of(config_.hidden_size);
  a.wanted = rows_of(config_.hidden_size);
  a.q = rows_of(QueryDim(config_));
  a.attended = rows_of(QueryDim(config_));
  a.k = rows_of(KvDim(config_));
  a.v = rows_of(KvDim(config_));
  a.gate = rows_of(config_.ffn_size);
  a.up = rows_of(config_.ffn_size);
  const int64_t logits = int64_t{kLogitRows} * config_.vocab_size;
  a.logits = backend_.AllocateFloats(logits);
  host_logits_.resize(logits);
}

absl::Status Transformer::BindKvCache(const KvCacheView& cache) {
  RETURN_IF_ERROR(backend_.BindKvCache(
      cache, {.query_heads = config_.num_heads,
              .rope_dim = config_.rope_dim,
              .rope_theta = config_.rope_theta,
              .scale = 1.0f / std::sqrt(static_cast<float>(config_.head_dim))}));
  num_blocks_ = cache.layout.blocks;
  return absl::OkStatus();
}

absl::Status Transformer::CheckBatch(const ForwardBatch& batch) const {
  TANDEM_CHECK(batch.num_rows() > 0 && batch.num_rows() <= max_batch_tokens_);
  TANDEM_CHECK_MSG(std::all_of(batch.blocks.begin(), batch.blocks.end(),
                               [&](uint32_t block) { return block < num_blocks_; }),
                   "a block id outside the arena");
  for (const TokenId token : batch.tokens) {
    if (token < 0 || token >= config_.vocab_size) {
      return absl::InvalidArgumentError(
          absl::StrCat("token ", token, " is outside the vocabulary of ", config_.vocab_size));
    }
  }
  return absl::OkStatus();
}

absl::Status Transformer::Forward(ForwardBatch batch, LayerSink on_layer, LogitsSink on_logits,
                                  UnwantedSource unwanted) {
  RETURN_IF_ERROR(CheckBatch(batch));
  const int hidden = config_.hidden_size;
  float* const q = activations_.q->data();
  float* const k = activations_.k->data();
  float* const v = activations_.v->data();
  float* const attended = activations_.attended->data();

  BeginStep(batch);
  backend_.EmbedRows(*embedding_, batch.tokens, activations_.residual->data());
  for (int l = 0; l < config_.num_layers; ++l) {
    if (l > 0) {
      if (const std::vector<int32_t> dropped = unwanted(); !dropped.empty()) {
        DropSequences(dropped, &batch);
        if (batch.num_rows() == 0) break;
      }
    }
    const Layer& layer = layers_[l];
    const bool last = l + 1 == config_.num_layers;
    const int rows = batch.num_rows();
    float* const residual = activations_.residual->data();
    float* const normed = activations_.normed->data();
    backend_.RmsNorm(residual, layer.attention_norm->data(), rows, hidden, config_.rms_norm_eps,
                     normed);
    backend_.MatMul(normed, rows, {{layer.q.get(), q}, {layer.k.get(), k}, {layer.v.get(), v}});
    backend_.AppendKv(l, q, k, v);
    on_layer(l);
    if (last && batch.logit_rows.empty()) break;
    backend_.Attention(l, q, attended);
    if (!last) {
      FinishLayer(layer, attended, rows, residual);
      continue;
    }
    // No later layer looks at the other rows.
    const int wanted_rows = static_cast<int>(batch.logit_rows.size());
    backend_.GatherRows(attended, QueryDim(config_), batch.logit_rows, q);
    backend_.GatherRows(residual, hidden, batch.logit_rows, activations_.wanted->data());
    FinishLayer(layer, q, wanted_rows, activations_.wanted->data());
    ComputeLogits(wanted_rows, on_logits);
  }
  backend_.Synchronize();
  return absl::OkStatus();
}

void Transformer::BeginStep(const ForwardBatch& batch) {
  backend_.BeginStep({.row_sequence = batch.row_sequence,
                      .row_position = batch.row_position,
                      .blocks = batch.blocks,
                      .table_begin = batch.table_begin});
}

void Transformer::DropSequences(absl::Span<const int32_t> sequences, ForwardBatch* batch) {
  const std::vector<int32_t> kept = batch->DropSequences(sequences);
  backend_.GatherRows(activations_.residual->data(), config_.hidden_size, kept,
                      activations_.normed->data());
  std::swap(activations_.residual, activations_.normed);
  BeginStep(*batch);
}

void Transformer::FinishLayer(const Layer& layer, const float* attended, int rows,
                              float* residual) {
  const int64_t hidden_count = int64_t{rows} * config_.hidden_size;
  float* const normed = activations_.normed->data();
  float* const delta = activations_.delta->data();
  float* const gate = activations_.gate->data();
  float* const up = activations_.up->data();
  backend_.MatMul(attended, rows, {{layer.attention_out.get(), delta}});
  backend_.Add(delta, hidden_count, residual);
  backend_.RmsNorm(residual, layer.ffn_norm->data(), rows, config_.hidden_size,
                   config_.rms_norm_eps, normed);
  backend_.MatMul(normed, rows, {{layer.gate.get(), gate}, {layer.up.get(), up}});
  backend_.SiluMul(gate, up, int64_t{rows} * config_.ffn_size, gate);
  backend_.MatMul(gate, rows, {{layer.down.get(), delta}});
  backend_.Add(delta, hidden_count, residual);
}

void Transformer::ComputeLogits(int rows, LogitsSink on_logits) {
  const int hidden = config_.hidden_size;
  const PackedMatrix* head = separate_head_ ? separate_head_.get() : embedding_.get();
  float* const normed = activations_.normed->data();
  float* const logits = activations_.logits->data();
  backend_.RmsNorm(activations_.wanted->data(), output_norm_->data(), rows, hidden,
                   config_.rms_norm_eps, normed);
  for (int first = 0; first < rows; first += kLogitRows) {
    const int count = std::min(kLogitRows, rows - first);
    backend_.MatMul(normed + int64_t{first} * hidden, count, {{head, logits}});
    const auto on_host = absl::MakeSpan(host_logits_).first(int64_t{count} * config_.vocab_size);
    backend_.CopyToHost(logits, on_host);
    on_logits(first, on_host);
  }
}

}  // namespace tandem
