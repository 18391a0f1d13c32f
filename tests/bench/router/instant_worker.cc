// A decode or prefill worker whose model takes no time: the production core, sessions, threads and
// transfer around an InstantEngine. For measuring the router, and the workers' own overhead.
//
// usage: instant_worker decode|prefill PACE_MICROSECONDS [options of that worker]
// `--model` gives the tokenizer and the fingerprint; its weights are not used.
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/config/config.h"
#include "common/config/port_file.h"
#include "common/telemetry/log.h"
#include "common/weights/model_file.h"
#include "common/worker/serve.h"
#include "common/worker/stop_signal.h"
#include "common/worker/worker_setup.h"
#include "common/worker/worker_shell.h"
#include "decode_worker/core/decode_core.h"
#include "prefill_worker/core/prefill_core.h"
#include "tests/bench/router/instant_engine.h"

namespace tandem::bench {
namespace {

// Small blocks of few layers: what is pushed is beside the point here.
constexpr uint32_t kNumLayers = 2;
constexpr size_t kBlockBytes = 256;
constexpr uint32_t kDefaultBlocks = 1 << 16;

struct Worker {
  std::unique_ptr<ModelFile> file;
  std::vector<std::byte> memory;
  KvTerms terms;
  std::unique_ptr<KvCache> cache;
  std::unique_ptr<InstantEngine> engine;
  WorkerShellOptions shell;
};

absl::StatusOr<Worker> SetUp(const WorkerConfig& config, WorkerRole role, Duration pace) {
  Worker w;
  ASSIGN_OR_RETURN(w.file, ModelFile::Open(config.model));
  const uint32_t blocks = config.kv_blocks == 0 ? kDefaultBlocks : config.kv_blocks;
  w.memory.resize(size_t{kNumLayers} * blocks * kBlockBytes);
  w.terms = {.model_fingerprint = w.file->fingerprint(),
             .numeric_profile = "instant",
             .num_layers = kNumLayers,
             .num_kv_heads = 1,
             .head_dim = 4,
             .kv_type = "f16",
             .layout = "layer,block,kv,head,token,dim"};
  w.cache = std::make_unique<KvCache>(blocks);
  w.engine = std::make_unique<InstantEngine>(w.file->tokenizer(), kNumLayers, pace);
  w.shell.hello = {.role = role,
                   .handshake = {.incarnation = Incarnation(RandomId()), .kv = w.terms},
                   .worker_name = absl::StrCat("instant-", WorkerRoleName(role)),
                   .model_name = "instant",
                   .max_model_len = static_cast<uint32_t>(w.file->config().context_length),
                   .num_blocks = blocks,
                   .max_sequences = config.max_sequences};
  w.shell.server.host = config.listen_host;
  w.shell.server.port = config.listen_port;
  w.shell.transfer.engine.handshake = w.shell.hello.handshake;
  return w;
}

absl::Status Run(const WorkerConfig& config, Worker* w, WorkerCore* core) {
  ASSIGN_OR_RETURN(std::unique_ptr<KvTransport> transport, MakeTransport(config));
  const uint32_t blocks = w->shell.hello.num_blocks;
  const KvMemory memory{
      kNumLayers, blocks, kBlockBytes, [w, blocks](uint32_t layer, BlockId first, uint32_t count) {
        const size_t offset = size_t{layer} * blocks + first.value();
        return absl::MakeSpan(w->memory).subspan(offset * kBlockBytes, count * kBlockBytes);
      }};
  ASSIGN_OR_RETURN(
      const std::unique_ptr<WorkerShell> shell,
      WorkerShell::Start(w->shell, core, w->engine.get(), memory, std::move(transport), {}));
  RETURN_IF_ERROR(WritePortFile(config.port_file, shell->port()));
  const StopSignal stop([&] { shell->RequestStop(); });
  return shell->Run() ? absl::OkStatus() : absl::InternalError("KV memory was not given back");
}

absl::Status RunDecode(const DecodeConfig& config, Duration pace) {
  StartProcess(config, "decode");
  ASSIGN_OR_RETURN(Worker w, SetUp(config, WorkerRole::kDecode, pace));
  DecodeCore core({.prefix_root = {{}, w.terms.model_fingerprint, w.terms.numeric_profile},
                   .incarnation = w.shell.hello.handshake.incarnation,
                   .first_grant_id = RandomId() >> 16,
                   .max_model_len = w.shell.hello.max_model_len,
                   .max_sequences = config.max_sequences,
                   .step_limits = {.max_batch_tokens = config.max_batch_tokens,
                                   .max_prefill_tokens = config.max_prefill_tokens_per_step,
                                   .max_sequences = config.max_sequences}},
                  w.cache.get());
  return Run(config, &w, &core);
}

absl::Status RunPrefill(const PrefillConfig& config, Duration pace) {
  StartProcess(config, "prefill");
  ASSIGN_OR_RETURN(Worker w, SetUp(config, WorkerRole::kPrefill, pace));
  PrefillCore core({.prefix_root = {{}, w.terms.model_fingerprint, w.terms.numeric_profile},
                    .num_layers = kNumLayers,
                    .block_layer_bytes = kBlockBytes,
                    .chunk_tokens = config.chunk_tokens,
                    .max_running = config.max_sequences,
                    .max_model_len = w.shell.hello.max_model_len},
                   w.cache.get());
  return Run(config, &w, &core);
}

absl::Status Main(const std::vector<std::string>& args) {
  uint64_t pace_us = 0;
  const bool decode = args.size() > 1 && args[0] == "decode";
  const bool prefill = args.size() > 1 && args[0] == "prefill";
  if ((!decode && !prefill) || !absl::SimpleAtoi(args[1], &pace_us)) {
    return absl::InvalidArgumentError("usage: instant_worker decode|prefill PACE_US [options]");
  }
  const Duration pace = std::chrono::microseconds(pace_us);
  const std::vector<std::string> options(args.begin() + 2, args.end());
  if (decode) {
    ASSIGN_OR_RETURN(const DecodeConfig config, ParseDecodeConfig(options, {}));
    return RunDecode(config, pace);
  }
  ASSIGN_OR_RETURN(const PrefillConfig config, ParsePrefillConfig(options, {}));
  return RunPrefill(config, pace);
}

}  // namespace
}  // namespace tandem::bench

int main(int argc, char** argv) {
  const std::vector<std::string> args(argv + 1, argv + argc);
  return tandem::ExitCode("instant", tandem::bench::Main(args));
}
