#include "common/weights/llama_config.h"

#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace tandem {
namespace {

constexpr absl::string_view kArchitecture = "llama";
// Far above every published model, low enough that no product of two overflows.
constexpr int64_t kMaxLayers = 4096;
constexpr int64_t kMaxWidth = 1 << 20;
constexpr int64_t kMaxHeads = 1 << 14;
constexpr int64_t kMaxHeadDim = 1 << 12;

constexpr absl::string_view kLengthKey = "llama.embedding_length";
constexpr absl::string_view kHeadsKey = "llama.attention.head_count";
constexpr absl::string_view kKvHeadsKey = "llama.attention.head_count_kv";
constexpr absl::string_view kHeadDimKey = "llama.attention.key_length";
constexpr absl::string_view kValueDimKey = "llama.attention.value_length";
constexpr absl::string_view kRopeDimKey = "llama.rope.dimension_count";
constexpr absl::string_view kRopeThetaKey = "llama.rope.freq_base";
constexpr absl::string_view kRopeScalingKey = "llama.rope.scaling.type";
constexpr absl::string_view kRmsEpsilonKey = "llama.attention.layer_norm_rms_epsilon";
constexpr absl::string_view kExpertsKey = "llama.expert_count";
constexpr absl::string_view kVocabSizeKey = "llama.vocab_size";

absl::Status Invalid(absl::string_view key, absl::string_view what) {
  return KeyError(absl::StatusCode::kInvalidArgument, key, what);
}

absl::Status Unsupported(absl::string_view key, absl::string_view what) {
  return KeyError(absl::StatusCode::kUnimplemented, key, what);
}

absl::Status RefuseUnsupportedKeys(const GgufMetadata& metadata) {
  ASSIGN_OR_RETURN(const std::optional<std::string> scaling,
                   metadata.OptionalString(kRopeScalingKey));
  if (scaling.has_value() && *scaling != "none") {
    return Unsupported(kRopeScalingKey,
                       absl::StrCat("rope scaling ", QuotedName(*scaling), " is not supported"));
  }
  // Older files state a linear scaling by its factor alone.
  for (absl::string_view key : {"llama.rope.scaling.factor", "llama.rope.scale_linear"}) {
    ASSIGN_OR_RETURN(const std::optional<double> factor, metadata.OptionalFloat(key));
    if (!scaling.has_value() && factor.has_value() && *factor != 0.0 && *factor != 1.0) {
      return Unsupported(key, absl::StrCat("rope scaling by ", *factor, " is not supported"));
    }
  }
  ASSIGN_OR_RETURN(const std::optional<int64_t> experts,
                   metadata.OptionalInteger(kExpertsKey, 0, std::numeric_limits<int32_t>::max()));
  if (experts.value_or(0) > 0) {
    return Unsupported(kExpertsKey,
                       absl::StrCat("a mixture of ", *experts, " experts is not supported"));
  }
  return absl::OkStatus();
}

absl::Status ReadHeads(const GgufMetadata& metadata, ModelConfig& config) {
  ASSIGN_OR_RETURN(config.num_heads, metadata.Integer(kHeadsKey, 1, kMaxHeads));
  ASSIGN_OR_RETURN(const std::optional<int64_t> kv_heads,
                   metadata.OptionalInteger(kKvHeadsKey, 1, config.num_heads));
  config.num_kv_heads = static_cast<int>(kv_heads.value_or(config.num_heads));
  if (config.num_heads % config.num_kv_heads != 0) {
    return Invalid(kKvHeadsKey, absl::StrCat(config.num_kv_heads, " does not divide the ",
                                             config.num_heads, " query heads"));
  }
  ASSIGN_OR_RETURN(const std::optional<int64_t> head_dim,
                   metadata.OptionalInteger(kHeadDimKey, 1, kMaxHeadDim));
  if (!head_dim.has_value() && config.hidden_size % config.num_heads != 0) {
    return Invalid(kHeadsKey, absl::StrCat(config.num_heads, " does not divide ", kLengthKey, " ",
                                           config.hidden_size));
  }
  config.head_dim = static_cast<int>(head_dim.value_or(config.hidden_size / config.num_heads));
  if (config.head_dim > kMaxHeadDim) {
    return Invalid(kHeadsKey, absl::StrCat("heads of ", config.head_dim,
                                           " dimensions, the limit is ", kMaxHeadDim));
  }
  ASSIGN_OR_RETURN(const std::optional<int64_t> value_dim,
                   metadata.OptionalInteger(kValueDimKey, 1, kMaxHeadDim));
  if (value_dim.value_or(config.head_dim) != config.head_dim) {
    return Unsupported(kValueDimKey, absl::StrCat(*value_dim, " differs from the head dimension ",
                                                  config.head_dim));
  }
  return absl::OkStatus();
}

absl::Status ReadRope(const GgufMetadata& metadata, ModelConfig& config) {
  ASSIGN_OR_RETURN(const std::optional<int64_t> rope_dim,
                   metadata.OptionalInteger(kRopeDimKey, 1, config.head_dim));
  config.rope_dim = static_cast<int>(rope_dim.value_or(config.head_dim));
  if (config.rope_dim % 2 != 0) {
    return Invalid(rope_dim.has_value() ? kRopeDimKey : kHeadsKey,
                   absl::StrCat("an odd number of rotated dimensions, ", config.rope_dim));
  }
  ASSIGN_OR_RETURN(const std::optional<double> theta, metadata.OptionalFloat(kRopeThetaKey));
  if (theta.has_value()) config.rope_theta = static_cast<float>(*theta);
  if (!std::isfinite(config.rope_theta) || config.rope_theta <= 0.0f) {
    return Invalid(kRopeThetaKey, absl::StrCat(*theta, " is not a positive number"));
  }
  return absl::OkStatus();
}

struct NeededTensor {
  std::string name;
  int64_t cols = 0;
  int64_t rows = 0;  // 0: a vector
};

std::vector<NeededTensor> NeededTensors(const ModelConfig& config) {
  const int64_t hidden = config.hidden_size;
  const int64_t ffn = config.ffn_size;
  const int64_t q = int64_t{config.num_heads} * config.head_dim;
  const int64_t kv = int64_t{config.num_kv_heads} * config.head_dim;
  std::vector<NeededTensor> needed = {{"token_embd.weight", hidden, config.vocab_size},
                                      {"output_norm.weight", hidden, 0}};
  for (int layer = 0; layer < config.num_layers; ++layer) {
    const auto add = [&](absl::string_view role, int64_t cols, int64_t rows) {
      needed.push_back({absl::StrCat("blk.", layer, ".", role, ".weight"), cols, rows});
    };
    add("attn_norm", hidden, 0);
    add("attn_q", hidden, q);
    add("attn_k", hidden, kv);
    add("attn_v", hidden, kv);
    add("attn_output", q, hidden);
    add("ffn_norm", hidden, 0);
    add("ffn_gate", hidden, ffn);
    add("ffn_up", hidden, ffn);
    add("ffn_down", ffn, hidden);
  }
  return needed;
}

std::string ShapeText(const GgufTensor& tensor) {
  std::string text = "[";
  for (int i = 0; i < tensor.num_dimensions; ++i) {
    absl::StrAppend(&text, i == 0 ? "" : ", ", tensor.dimensions[i]);
  }
  return text + "]";
}

absl::Status CheckShape(const NeededTensor& needed, const GgufTensor& tensor) {
  const bool is_vector = needed.rows == 0;
  const int64_t rows = is_vector ? 1 : needed.rows;
  const bool fits = tensor.dimensions[0] == needed.cols && tensor.dimensions[1] == rows &&
                    tensor.dimensions[2] == 1 && tensor.dimensions[3] == 1;
  if (fits) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("tensor ", QuotedName(needed.name), ": shape ", ShapeText(tensor),
                   ", the model's keys ask for [", needed.cols,
                   is_vector ? "" : absl::StrCat(", ", needed.rows), "]"));
}

bool ChangesTheResult(absl::string_view name) {
  return absl::EndsWith(name, ".bias") || absl::StartsWith(name, "rope_f") ||
         (absl::StartsWith(name, "blk.") && absl::StrContains(name, ".rope_f"));
}

}  // namespace

absl::Status CheckArchitecture(const GgufMetadata& metadata) {
  constexpr absl::string_view kKey = "general.architecture";
  ASSIGN_OR_RETURN(const std::string found, metadata.String(kKey));
  if (found == kArchitecture) return absl::OkStatus();
  return Unsupported(
      kKey, absl::StrCat(QuotedName(found), " is not supported, only '", kArchitecture, "' is"));
}

absl::StatusOr<ModelConfig> ReadLlamaConfig(const GgufMetadata& metadata, int vocab_size,
                                            absl::string_view fallback_name) {
  ModelConfig config;
  constexpr int64_t kMaxInt = std::numeric_limits<int32_t>::max();
  config.architecture = std::string(kArchitecture);
  ASSIGN_OR_RETURN(const std::optional<std::string> name, metadata.OptionalString("general.name"));
  config.name = name.has_value() && !name->empty() ? *name : std::string(fallback_name);
  RETURN_IF_ERROR(RefuseUnsupportedKeys(metadata));
  ASSIGN_OR_RETURN(config.num_layers, metadata.Integer("llama.block_count", 1, kMaxLayers));
  ASSIGN_OR_RETURN(config.context_length, metadata.Integer("llama.context_length", 1, kMaxInt));
  ASSIGN_OR_RETURN(config.hidden_size, metadata.Integer(kLengthKey, 1, kMaxWidth));
  ASSIGN_OR_RETURN(config.ffn_size, metadata.Integer("llama.feed_forward_length", 1, kMaxWidth));
  RETURN_IF_ERROR(ReadHeads(metadata, config));
  RETURN_IF_ERROR(ReadRope(metadata, config));
  ASSIGN_OR_RETURN(const std::optional<double> epsilon, metadata.OptionalFloat(kRmsEpsilonKey));
  if (!epsilon.has_value()) return Invalid(kRmsEpsilonKey, "missing");
  config.rms_norm_eps = static_cast<float>(*epsilon);
  if (!(config.rms_norm_eps >= 0.0f && config.rms_norm_eps < 1.0f)) {
    return Invalid(kRmsEpsilonKey, absl::StrCat(*epsilon, " is not within 0 to 1"));
  }
  config.vocab_size = vocab_size;
  ASSIGN_OR_RETURN(const std::optional<int64_t> stated_vocab,
                   metadata.OptionalInteger(kVocabSizeKey, 1, kMaxInt));
  if (stated_vocab.value_or(vocab_size) != vocab_size) {
    return Invalid(kVocabSizeKey, absl::StrCat(*stated_vocab, ", but tokenizer.ggml.tokens has ",
                                               vocab_size, " elements"));
  }
  return config;
}

absl::Status CheckLlamaTensors(const ModelConfig& config, absl::Span<const GgufTensor> tensors) {
  absl::flat_hash_map<absl::string_view, const GgufTensor*> by_name;
  for (const GgufTensor& tensor : tensors) {
    by_name.emplace(tensor.view.name, &tensor);
    if (ChangesTheResult(tensor.view.name)) {
      return absl::UnimplementedError(absl::StrCat("tensor ", QuotedName(tensor.view.name),
                                                   ": biases and rope factors are not supported"));
    }
  }
  for (const NeededTensor& needed : NeededTensors(config)) {
    const auto it = by_name.find(needed.name);
    if (it == by_name.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor ", QuotedName(needed.name), ": missing"));
    }
    RETURN_IF_ERROR(CheckShape(needed, *it->second));
  }
  if (const auto head = by_name.find("output.weight"); head != by_name.end()) {
    return CheckShape({"output.weight", config.hidden_size, config.vocab_size}, *head->second);
  }
  return absl::OkStatus();
}

}  // namespace tandem
