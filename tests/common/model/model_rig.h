// ModelRig: a transformer on a backend of its own with its own KV arena, and a plain driver that
// runs whole sequences through it in chunks. For tests.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "common/kv/kv_arena.h"
#include "common/model/open_model.h"
#include "common/model/transformer.h"
#include "common/weights/model_file.h"
#include "kernels/cpu/cpu_backend.h"

namespace tandem {

struct RigOptions {
  BackendKind backend = BackendKind::kReference;
  std::optional<CpuIsa> isa;  // holds the fast backend to it
  KvElement kv_element = KvElement::kF32;
  int threads = 1;
  int max_batch_tokens = 512;
  uint32_t num_blocks = 64;
};

struct ModelRig {
  std::unique_ptr<ParallelFor> team;
  std::unique_ptr<Backend> backend;
  std::unique_ptr<KvArena> arena;
  std::unique_ptr<Transformer> transformer;
};

// Aborts on errors.
ModelRig MakeRig(const ModelFile& file, const RigOptions& options);

// One sequence and where it lives. KV of [0, landed) is in the arena.
struct RigSequence {
  std::vector<TokenId> tokens;
  std::vector<BlockId> block_table;
  uint32_t landed = 0;
};

// Gives each sequence its blocks, far apart and out of order, so that only the tables can find
// them.
std::vector<RigSequence> PlaceSequences(const std::vector<std::vector<TokenId>>& token_lists,
                                        uint32_t num_blocks);

using Logits = std::map<int, std::vector<float>>;  // by position

// Computes all sequences from `landed` to their ends, `chunk` tokens of each in every step, and
// returns the logits at `positions` (those that a sequence has) of each sequence.
std::vector<Logits> RunInChunks(ModelRig& rig, std::vector<RigSequence>& sequences, int chunk,
                                const std::vector<int>& positions);

// The stored keys and values of a sequence's blocks, layer by layer.
std::vector<std::byte> KvBytes(const ModelRig& rig, const RigSequence& sequence);

// Well mixed ids below `vocabulary`.
std::vector<TokenId> MakeTokens(int count, int vocabulary, uint32_t seed);

}  // namespace tandem
