#include "common/worker/worker_setup.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/kv/block_size.h"
#include "common/model/memory_available.h"
#include "common/rpc/listen_address.h"
#include "common/telemetry/log.h"
#include "common/transfer/auto/auto_transport.h"
#include "common/weights/model_file.h"

namespace tandem {
namespace {

// Unless told otherwise a worker's KV cache takes an eighth of the memory that is free, so that
// several workers fit on one machine, and no more than this.
constexpr uint64_t kDefaultKvShare = 8;
constexpr uint64_t kDefaultKvLimit = uint64_t{1} << 30;

uint64_t BytesPerBlock(const ModelConfig& config, KvElement element) {
  return uint64_t{2} * config.num_layers * config.num_kv_heads * config.head_dim * kBlockTokens *
         KvElementBytes(element);
}

absl::StatusOr<uint32_t> ChooseBlocks(const WorkerConfig& config, const ModelConfig& model,
                                      KvElement element, uint32_t max_model_len) {
  if (config.kv_blocks > 0) return config.kv_blocks;
  const uint64_t per_block = BytesPerBlock(model, element);
  uint64_t bytes = config.kv_memory_bytes;
  if (bytes > 0 && bytes < per_block) {
    return absl::InvalidArgumentError(
        absl::StrCat("--kv-memory is less than one block of ", per_block, " bytes"));
  }
  if (bytes == 0) {
    ASSIGN_OR_RETURN(const MemoryAvailable available, ReadMemoryAvailable());
    bytes = std::min(kDefaultKvLimit, available.bytes / kDefaultKvShare);
    // One sequence of full length must fit, with its last, private block.
    bytes = std::max(bytes, per_block * (BlocksCovering(max_model_len) + 1));
  }
  return static_cast<uint32_t>(std::clamp<uint64_t>(bytes / per_block, 1, 1u << 24));
}

HashSecret SecretFrom(const std::string& text) {
  const BlockHash hash = HashRoot(HashSecret{}, text, "", "");
  HashSecret secret;
  std::memcpy(secret.data(), &hash.high, 8);
  std::memcpy(secret.data() + 8, &hash.low, 8);
  return secret;
}

}  // namespace

uint64_t RandomId() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

absl::StatusOr<std::unique_ptr<WorkerSetup>> SetUpWorker(const WorkerConfig& config,
                                                         WorkerRole role,
                                                         uint32_t max_batch_tokens) {
  auto setup = std::make_unique<WorkerSetup>();
  ASSIGN_OR_RETURN(const std::unique_ptr<ModelFile> file, ModelFile::Open(config.model));
  const ModelConfig& shape = file->config();
  const uint32_t trained = static_cast<uint32_t>(shape.context_length);
  if (config.max_model_len > trained) {
    return absl::InvalidArgumentError(absl::StrCat("--max-model-len is ", config.max_model_len,
                                                   ", and the model takes ", trained, " tokens"));
  }
  const uint32_t max_model_len = config.max_model_len == 0 ? trained : config.max_model_len;
  const KvElement element =
      config.kv_type == KvTypeChoice::kF32 ? KvElement::kF32 : KvElement::kF16;
  ASSIGN_OR_RETURN(const uint32_t num_blocks, ChooseBlocks(config, shape, element, max_model_len));

  OpenModelOptions open{
      .path = config.model,
      .backend = config.backend == BackendChoice::kReference ? BackendKind::kReference
                 : config.backend == BackendChoice::kCpu     ? BackendKind::kCpu
                                                             : BackendKind::kAuto,
      .kv_element = element,
      .threads = static_cast<int>(
          config.threads == 0 ? std::max(1u, std::thread::hardware_concurrency()) : config.threads),
      .max_batch_tokens = static_cast<int>(max_batch_tokens),
      .num_blocks = num_blocks,
      // Others read what is pushed alone; who lands it reads it for every token.
      .share_kv = role == WorkerRole::kPrefill};
  ASSIGN_OR_RETURN(setup->model, OpenModel(open));
  ASSIGN_OR_RETURN(const MemoryAvailable available, ReadMemoryAvailable());
  setup->arena_backing =
      std::make_unique<ArenaBacking>(setup->model->arena.get(), available.bytes / 2);
  setup->executor = std::make_unique<TransformerExecutor>(setup->model->transformer.get(),
                                                          setup->model->team.get());
  setup->cache = std::make_unique<KvCache>(num_blocks);
  const KvTerms& terms = setup->model->kv_terms;
  setup->prefix_root = {SecretFrom(config.cluster_secret), terms.model_fingerprint,
                        terms.numeric_profile};
  setup->hello = {.role = role,
                  .handshake = {.incarnation = Incarnation(RandomId()), .kv = terms},
                  .worker_name = config.name.empty()
                                     ? absl::StrCat(WorkerRoleName(role), "-", getpid())
                                     : config.name,
                  .model_name = shape.name,
                  .max_model_len = max_model_len,
                  .num_blocks = num_blocks,
                  .max_sequences = config.max_sequences};
  KvArena* arena = setup->model->arena.get();
  setup->memory = {.num_layers = arena->shape().num_layers,
                   .num_blocks = arena->shape().num_blocks,
                   .block_bytes = arena->bytes_per_block_layer(),
                   .run = [arena](uint32_t layer, BlockId first,
                                  uint32_t count) { return arena->Run(layer, first, count); },
                   .shared = arena->shared()};
  setup->transfer.engine.handshake = setup->hello.handshake;
  setup->transfer.engine.allow_mixed_numerics = config.numerics == NumericsChoice::kMixed;
  setup->transfer.engine.log = [](absl::string_view line) {
    Log(Level::kInfo, "transfer", {{"detail", std::string(line)}});
  };
  Log(Level::kInfo, "model ready",
      {{"model", shape.name},
       {"numerics", terms.numeric_profile},
       {"threads", open.threads},
       {"kv_blocks", num_blocks},
       {"kv_bytes", BytesPerBlock(shape, element) * num_blocks},
       {"max_model_len", max_model_len}});
  return setup;
}

absl::StatusOr<std::unique_ptr<KvTransport>> MakeTransport(const WorkerConfig& config) {
  if (config.transport != "auto" && config.transport != "ucx") {
    return absl::InvalidArgumentError(
        absl::StrCat("transport '", config.transport, "' is not known; there is: auto, ucx"));
  }
  const UcxNetwork network =
      IsLoopback(config.listen_host) ? UcxNetwork::kLoopback : UcxNetwork::kAll;
  return MakeAutoTransport(network, /*same_host=*/config.transport == "auto");
}

}  // namespace tandem
