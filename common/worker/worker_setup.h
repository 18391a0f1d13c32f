// What a worker's main makes from its settings before the core starts: the model with its KV
// memory, the prefix cache, and the worker's identity.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "common/config/config.h"
#include "common/engine/prefix_root.h"
#include "common/kv/arena_backing.h"
#include "common/kv/kv_cache.h"
#include "common/model/open_model.h"
#include "common/model/transformer_executor.h"
#include "common/protocol/router_messages.h"
#include "common/transfer/kv_transport.h"
#include "common/transfer/transfer_thread.h"

namespace tandem {

// Members are in the order of construction: each uses those above it.
struct WorkerSetup {
  std::unique_ptr<LoadedModel> model;
  std::unique_ptr<ArenaBacking> arena_backing;
  std::unique_ptr<TransformerExecutor> executor;
  std::unique_ptr<KvCache> cache;
  PrefixRoot prefix_root;
  WorkerHello hello;  // without transfer address
  KvMemory memory;    // the arena, as the transfer engine sees it
  TransferThreadOptions transfer;
};

// `max_batch_tokens`: of the largest step. Logs the loading's progress.
absl::StatusOr<std::unique_ptr<WorkerSetup>> SetUpWorker(const WorkerConfig& config,
                                                         WorkerRole role,
                                                         uint32_t max_batch_tokens);

// The KV transport that the settings name.
absl::StatusOr<std::unique_ptr<KvTransport>> MakeTransport(const WorkerConfig& config);

// 64 bits from the kernel, for incarnations and grant ids.
uint64_t RandomId();

}  // namespace tandem
