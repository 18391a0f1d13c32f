// The model of the simulation: a token is a hash of its prefix, and the KV of a token in a layer is
// a hash of (its prefix, the layer). So one wrong byte of KV, or one wrong token, is seen where it
// is used, and what a request must answer is known before anything runs.
//
// Pure functions and one lookup table, filled before a run starts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"
#include "common/base/ids.h"
#include "common/engine/step.h"
#include "common/kv/block_size.h"
#include "common/protocol/router_messages.h"
#include "tests/sim/random.h"

namespace tandem::sim {

inline constexpr TokenId kEndToken = 2;
inline constexpr uint32_t kVocabulary = 512;
// KV of one token in one layer: one value.
inline constexpr size_t kTokenLayerBytes = sizeof(uint64_t);
inline constexpr size_t kBlockLayerBytes = kBlockTokens * kTokenLayerBytes;

inline constexpr uint64_t kEmptyPrefix = 0x7461'6e64'656d;
inline uint64_t ExtendPrefix(uint64_t prefix, TokenId token) {
  return Mix(prefix, static_cast<uint64_t>(token) + 1);
}
// Layer 0 holds the prefix hash itself, which is how a step finds what it continues: from KV alone,
// as in a real model.
inline uint64_t KvValue(uint64_t prefix, uint32_t layer) {
  return layer == 0 ? prefix : Mix(prefix, 0xabcd0000 + layer);
}

// The token after `prefix` and its logprobs, if they are wanted.
SampledToken DrawToken(uint64_t prefix, const SampleRequest& request);

// What a client must receive for a prompt.
struct ExpectedStream {
  std::vector<TokenId> tokens;
  std::vector<OutputLogprobs> logprobs;  // one per token, when asked for
  FinishReason reason = FinishReason::kLength;
  std::optional<TokenId> stop_token;
};
ExpectedStream Undisturbed(absl::Span<const TokenId> prompt, const SamplingParams& sampling);

// All prefixes of all sequences that the requests of a run can lead to. KV of any other prefix is
// wrong.
class PrefixTree {
 public:
  struct Node {
    uint64_t prefix = 0;
    int32_t parent = -1;  // -1: the first token
    uint32_t position = 0;
  };

  void Add(absl::Span<const TokenId> tokens);
  // The node of this prefix, or -1.
  int32_t Find(uint64_t prefix) const;
  const Node& at(int32_t node) const { return nodes_[static_cast<size_t>(node)]; }

 private:
  std::vector<Node> nodes_;
  absl::flat_hash_map<uint64_t, int32_t> by_prefix_;
};

}  // namespace tandem::sim
