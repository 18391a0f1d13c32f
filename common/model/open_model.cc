#include "common/model/open_model.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/kv/block_size.h"
#include "common/model/memory_available.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/thread_team.h"
#include "kernels/reference/reference_backend.h"

namespace tandem {
namespace {

static_assert(kBlockTokens == kKvBlockTokens, "one block size for the cache and the kernels");

// Far above any machine; keeps products of untrusted settings within 64 bits.
constexpr int kMaxThreads = 1024;
constexpr int kMaxBatchTokens = 1 << 20;

const char* ElementName(KvElement element) { return element == KvElement::kF16 ? "f16" : "f32"; }

absl::Status CheckOptions(const OpenModelOptions& options) {
  if (options.threads < 1 || options.threads > kMaxThreads) {
    return absl::InvalidArgumentError(
        absl::StrCat("threads must be 1 to ", kMaxThreads, ", not ", options.threads));
  }
  if (options.max_batch_tokens < 1 || options.max_batch_tokens > kMaxBatchTokens) {
    return absl::InvalidArgumentError(absl::StrCat(
        "max_batch_tokens must be 1 to ", kMaxBatchTokens, ", not ", options.max_batch_tokens));
  }
  if (options.num_blocks == 0) return absl::InvalidArgumentError("num_blocks must not be 0");
  return absl::OkStatus();
}

bool UsesReference(BackendKind kind) {
  return kind == BackendKind::kReference || (kind == BackendKind::kAuto && !CpuHas(CpuIsa::kAvx2));
}

absl::StatusOr<std::unique_ptr<Backend>> MakeBackend(BackendKind kind, ParallelFor* team) {
  if (kind == BackendKind::kReference) return MakeReferenceBackend(team);
  if (kind == BackendKind::kCpu) return MakeSimdBackend(team);
  return MakeCpuBackend(team);
}

KvArenaShape ArenaShape(const ModelConfig& config, const OpenModelOptions& options) {
  return {.num_layers = static_cast<uint32_t>(config.num_layers),
          .num_blocks = options.num_blocks,
          .num_kv_heads = static_cast<uint32_t>(config.num_kv_heads),
          .head_dim = static_cast<uint32_t>(config.head_dim),
          .element = options.kv_element};
}

KvTerms TermsOf(const ModelFile& file, const Backend& backend, const KvArenaShape& shape) {
  KvTerms terms;
  terms.model_fingerprint = file.fingerprint();
  terms.kv_type = ElementName(shape.element);
  terms.numeric_profile = absl::StrCat(backend.profile(), "/", terms.kv_type);
  terms.block_tokens = kBlockTokens;
  terms.num_layers = shape.num_layers;
  terms.num_kv_heads = shape.num_kv_heads;
  terms.head_dim = shape.head_dim;
  terms.layout = "layer,block,kv,head,token,dim";
  return terms;
}

std::vector<TokenId> EndTokens(const TokenizerData& tokenizer) {
  std::vector<TokenId> tokens = tokenizer.end_of_turn;
  if (tokenizer.eos) tokens.insert(tokens.begin(), *tokenizer.eos);
  return tokens;
}

}  // namespace

absl::StatusOr<BackendKind> ParseBackendKind(absl::string_view name) {
  if (name == "auto") return BackendKind::kAuto;
  if (name == "reference") return BackendKind::kReference;
  if (name == "cpu") return BackendKind::kCpu;
  return absl::InvalidArgumentError(
      absl::StrCat("backend must be auto, reference or cpu, not '", name, "'"));
}

absl::StatusOr<KvElement> ParseKvElement(absl::string_view name) {
  if (name == "f16") return KvElement::kF16;
  if (name == "f32") return KvElement::kF32;
  return absl::InvalidArgumentError(absl::StrCat("kv_type must be f16 or f32, not '", name, "'"));
}

MemoryNeed EstimateMemory(const ModelFile& file, const OpenModelOptions& options) {
  const ModelConfig& config = file.config();
  MemoryNeed need;
  for (const TensorView& tensor : file.tensors()) {
    // The fast backend keeps the file's encodings with at most 2 more bytes to a block of 18; the
    // plain one keeps floats.
    need.weights += UsesReference(options.backend) ? tensor.rows * tensor.cols * sizeof(float)
                                                   : tensor.data.size() * 10 / 9;
  }
  need.kv = uint64_t{options.num_blocks} * kBlockTokens * 2 * config.num_layers *
            config.num_kv_heads * config.head_dim * KvElementBytes(options.kv_element);
  // Twice: backends keep copies of their own, such as quantized activations, and the logits exist
  // on the host too.
  need.activations =
      2 * sizeof(float) * Transformer::ActivationFloats(config, options.max_batch_tokens);
  return need;
}

absl::Status CheckMemory(const MemoryNeed& need, uint64_t available_bytes,
                         absl::string_view limited_by) {
  if (need.Total() <= available_bytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("the model needs ", FormatBytes(need.Total()), " of memory (weights ",
                   FormatBytes(need.weights), ", KV cache ", FormatBytes(need.kv), ", activations ",
                   FormatBytes(need.activations), "), ", FormatBytes(available_bytes),
                   " are available (", limited_by, ")"));
}

KvCacheView ViewOf(KvArena& arena) {
  const KvArenaShape& shape = arena.shape();
  const KvArenaStrides& strides = arena.strides();
  KvLayout layout;
  layout.layers = static_cast<int>(shape.num_layers);
  layout.blocks = shape.num_blocks;
  layout.kv_heads = static_cast<int>(shape.num_kv_heads);
  layout.head_dim = static_cast<int>(shape.head_dim);
  layout.type = shape.element == KvElement::kF16 ? KvType::kF16 : KvType::kF32;
  layout.layer_stride = strides.layer;
  layout.block_stride = strides.block;
  layout.value_offset = strides.kv;
  layout.head_stride = strides.head;
  return {.base = arena.Whole().data(), .layout = layout};
}

absl::StatusOr<std::unique_ptr<LoadedModel>> OpenModel(const OpenModelOptions& options) {
  RETURN_IF_ERROR(CheckOptions(options));
  ASSIGN_OR_RETURN(const std::unique_ptr<ModelFile> file, ModelFile::Open(options.path));
  ASSIGN_OR_RETURN(const MemoryAvailable available, ReadMemoryAvailable());
  RETURN_IF_ERROR(
      CheckMemory(EstimateMemory(*file, options), available.bytes, available.limited_by));

  auto model = std::make_unique<LoadedModel>();
  model->config = file->config();
  model->end_tokens = EndTokens(file->tokenizer());
  model->team = std::make_unique<ThreadTeam>(options.threads);
  ASSIGN_OR_RETURN(model->backend, MakeBackend(options.backend, model->team.get()));
  const KvArenaShape shape = ArenaShape(model->config, options);
  ASSIGN_OR_RETURN(model->arena, KvArena::Create(shape, options.share_kv));
  model->kv_terms = TermsOf(*file, *model->backend, shape);
  ASSIGN_OR_RETURN(model->transformer, Transformer::Load(*file, model->backend.get(),
                                                         options.max_batch_tokens, options.report));
  RETURN_IF_ERROR(model->transformer->BindKvCache(ViewOf(*model->arena)));
  return model;
}

}  // namespace tandem
