#include "tests/common/model/model_rig.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "common/base/check.h"
#include "common/kv/block_size.h"
#include "common/model/philox.h"
#include "kernels/cpu/thread_team.h"
#include "kernels/reference/reference_backend.h"

namespace tandem {

ModelRig MakeRig(const ModelFile& file, const RigOptions& options) {
  ModelRig rig;
  rig.team = std::make_unique<ThreadTeam>(options.threads);
  if (options.isa) {
    rig.backend = MakeSimdBackend(rig.team.get(), *options.isa).value();
  } else if (options.backend == BackendKind::kReference) {
    rig.backend = MakeReferenceBackend(rig.team.get());
  } else {
    rig.backend = MakeCpuBackend(rig.team.get()).value();
  }
  const ModelConfig& config = file.config();
  rig.arena = KvArena::Create({.num_layers = static_cast<uint32_t>(config.num_layers),
                               .num_blocks = options.num_blocks,
                               .num_kv_heads = static_cast<uint32_t>(config.num_kv_heads),
                               .head_dim = static_cast<uint32_t>(config.head_dim),
                               .element = options.kv_element})
                  .value();
  rig.transformer =
      Transformer::Load(file, rig.backend.get(), options.max_batch_tokens, nullptr).value();
  TANDEM_CHECK(rig.transformer->BindKvCache(ViewOf(*rig.arena)).ok());
  return rig;
}

std::vector<RigSequence> PlaceSequences(const std::vector<std::vector<TokenId>>& token_lists,
                                        uint32_t num_blocks) {
  uint32_t stride =
      num_blocks / 2 + 1;  // coprime to num_blocks: every block once, none next to its neighbour
  while (std::gcd(stride, num_blocks) != 1) ++stride;
  std::vector<RigSequence> sequences;
  uint32_t taken = 0;
  for (const std::vector<TokenId>& tokens : token_lists) {
    RigSequence sequence{.tokens = tokens, .block_table = {}, .landed = 0};
    for (uint32_t i = 0; i < BlocksCovering(tokens.size()); ++i) {
      TANDEM_CHECK(taken < num_blocks);
      sequence.block_table.push_back(BlockId((uint64_t{taken++} * stride + 3) % num_blocks));
    }
    sequences.push_back(std::move(sequence));
  }
  return sequences;
}

std::vector<Logits> RunInChunks(ModelRig& rig, std::vector<RigSequence>& sequences, int chunk,
                                const std::vector<int>& positions) {
  std::vector<Logits> logits(sequences.size());
  while (true) {
    ForwardBatch batch;
    std::vector<std::pair<size_t, int>> wanted;  // sequence, position
    for (size_t s = 0; s < sequences.size(); ++s) {
      RigSequence& sequence = sequences[s];
      const uint32_t count = std::min<uint32_t>(chunk, sequence.tokens.size() - sequence.landed);
      if (count == 0) continue;
      const int row = batch.AddSequence(
          sequence.landed, absl::MakeSpan(sequence.tokens).subspan(sequence.landed, count),
          sequence.block_table);
      for (uint32_t i = 0; i < count; ++i) {
        const int position = static_cast<int>(sequence.landed + i);
        if (std::find(positions.begin(), positions.end(), position) == positions.end()) continue;
        batch.logit_rows.push_back(row + static_cast<int>(i));
        wanted.emplace_back(s, position);
      }
      sequence.landed += count;
    }
    if (batch.num_rows() == 0) return logits;
    const size_t vocabulary = rig.transformer->config().vocab_size;
    const absl::Status status = rig.transformer->Forward(
        batch, [](int) {},
        [&](int first, absl::Span<const float> part) {
          for (size_t i = 0; i * vocabulary < part.size(); ++i) {
            const auto row = part.subspan(i * vocabulary, vocabulary);
            const auto [sequence, position] = wanted[first + i];
            logits[sequence][position].assign(row.begin(), row.end());
          }
        });
    TANDEM_CHECK_MSG(status.ok(), status.ToString());
  }
}

std::vector<std::byte> KvBytes(const ModelRig& rig, const RigSequence& sequence) {
  const KvArena& arena = *rig.arena;
  std::vector<std::byte> bytes;
  for (uint32_t layer = 0; layer < arena.shape().num_layers; ++layer) {
    for (const BlockId block : sequence.block_table) {
      const auto run = arena.Run(layer, block, 1);
      bytes.insert(bytes.end(), run.begin(), run.end());
    }
  }
  return bytes;
}

std::vector<TokenId> MakeTokens(int count, int vocabulary, uint32_t seed) {
  std::vector<TokenId> tokens;
  for (int i = 0; i < count; ++i) {
    tokens.push_back(static_cast<TokenId>(UniformDraw(seed, 7, i) * vocabulary));
  }
  return tokens;
}

}  // namespace tandem
