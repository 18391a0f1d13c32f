// Opens a model file for computing: what both workers do at start. The result is everything that a
// runner needs, made to fit: weights on a backend, a KV arena, and the terms under which its blocks
// may travel.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/kv/kv_arena.h"
#include "common/model/transformer.h"
#include "common/protocol/handshake.h"
#include "common/weights/model_config.h"
#include "kernels/backend.h"
#include "kernels/parallel_for.h"

namespace tandem {

enum class BackendKind : uint8_t {
  kAuto,       // the best for this processor
  kReference,  // slow and plain float32
  kCpu,        // the fast one, or an error where this processor cannot run it
};
absl::StatusOr<BackendKind> ParseBackendKind(absl::string_view name);  // "auto", "reference", "cpu"
absl::StatusOr<KvElement> ParseKvElement(absl::string_view name);      // "f16", "f32"

struct OpenModelOptions {
  std::string path;
  BackendKind backend = BackendKind::kAuto;
  KvElement kv_element = KvElement::kF16;
  int threads = 1;             // the runner's own included
  int max_batch_tokens = 512;  // rows of the largest step
  uint32_t num_blocks = 0;     // KV blocks of 16 tokens
  bool share_kv = false;       // KvArena::Create
  LoadProgress report;         // may be empty
};

// Members are in the order of construction: each uses those above it.
struct LoadedModel {
  ModelConfig config;
  std::vector<TokenId> end_tokens;  // ids that end an output: end of sequence and of turn
  KvTerms kv_terms;
  std::unique_ptr<ParallelFor> team;
  std::unique_ptr<Backend> backend;
  std::unique_ptr<KvArena> arena;
  std::unique_ptr<Transformer> transformer;  // bound to the arena
};

// Returns RESOURCE_EXHAUSTED, before anything is allocated, when the machine or its control group
// has less memory left than this needs; the message has both figures. INVALID_ARGUMENT for options
// out of range, and the errors of ModelFile and of the backend.
absl::StatusOr<std::unique_ptr<LoadedModel>> OpenModel(const OpenModelOptions& options);

// What OpenModel will take, estimated from the file; and the check alone, against `available`.
struct MemoryNeed {
  uint64_t weights = 0;
  uint64_t kv = 0;
  uint64_t activations = 0;
  uint64_t Total() const { return weights + kv + activations; }
};
MemoryNeed EstimateMemory(const ModelFile& file, const OpenModelOptions& options);
absl::Status CheckMemory(const MemoryNeed& need, uint64_t available_bytes,
                         absl::string_view limited_by);

// The same arena as backends see it.
KvCacheView ViewOf(KvArena& arena);

}  // namespace tandem
