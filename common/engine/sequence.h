// A sequence is its tokens plus a landed prefix: `landed` counts the leading tokens whose KV is
// valid in its blocks. Cache hits, pushed chunks and own computation all do one thing, they make
// `landed` larger.
//
// Owned by a worker's core; core thread only. Not for: who may fill the missing range (FillLease)
// and what runs next (PlanStep).
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "common/base/ids.h"
#include "common/kv/kv_cache.h"
#include "common/kv/prefix_chain.h"

namespace tandem {

// Prompt, then outputs, and the prefix hashes of both.
class SequenceTokens {
 public:
  // REQUIRES: the prompt is not empty.
  SequenceTokens(PrefixChain empty_chain, std::vector<TokenId> prompt,
                 absl::Span<const TokenId> outputs = {});

  void AppendOutput(TokenId token);

  uint32_t size() const { return static_cast<uint32_t>(all_.size()); }
  absl::Span<const TokenId> all() const { return all_; }
  absl::Span<const TokenId> prompt() const { return all().first(prompt_size_); }
  absl::Span<const TokenId> outputs() const { return all().subspan(prompt_size_); }
  const PrefixChain& chain() const { return chain_; }

 private:
  std::vector<TokenId> all_;
  size_t prompt_size_;
  PrefixChain chain_;
};

// Invariants: landed() <= scheduled() <= tokens().size(); blocks() covers scheduled(); full blocks
// below landed() are READY and published.
class Sequence {
 public:
  // `cache` must outlive the sequence.
  Sequence(KvCache* cache, SequenceTokens tokens);

  const SequenceTokens& tokens() const { return tokens_; }
  void AppendOutput(TokenId token) { tokens_.AppendOutput(token); }

  uint32_t landed() const { return landed_; }
  // Where the next step starts: landed, or as far as the steps in flight will bring it.
  uint32_t scheduled() const { return scheduled_; }
  // The block table. Whatever is in flight holds a Share() of it.
  const KvLease& blocks() const { return blocks_; }

  // Pins what the cache has of the first `max_blocks` blocks; returns the tokens found.
  // REQUIRES: the sequence holds no blocks.
  uint32_t MatchCached(uint32_t max_blocks);

  // A committed chunk of a remote filler: blocks [first_block, first_block + chunk.size()) of the
  // sequence. Chunks may come in any order; blocks behind a gap wait for it. Blocks that another
  // attempt brought before are given back. Returns the tokens by which `landed` grew.
  // REQUIRES: the owner does not fill (Grow was not called since the start or Preempt).
  uint32_t Land(uint32_t first_block, KvLease chunk);

  // Gives back the blocks that wait behind a gap: their filler is gone, and the next one starts at
  // landed().
  void DropWaiting() { waiting_.clear(); }

  // Takes FILLING blocks so that the table covers `tokens` tokens: the owner fills from here on,
  // and blocks that still wait for a gap are dropped. RESOURCE_EXHAUSTED changes nothing.
  absl::Status Grow(uint32_t tokens);

  // A step that computes up to token `end` was submitted. REQUIRES: the table covers it.
  void Schedule(uint32_t end);
  // That step is done. Publishes the blocks that became full; where the cache held the same content
  // already, its block takes the place, and ours is returned to be kept until no step or push in
  // flight uses it.
  [[nodiscard]] KvLease Computed(uint32_t end);
  // The steps in flight failed: what they computed does not count.
  void Unschedule() { scheduled_ = landed_; }

  // Gives all blocks away; nothing is landed then, and what the steps in flight compute does not
  // count. The sequence can start again: MatchCached, Land, Grow.
  [[nodiscard]] KvLease Preempt();

 private:
  // Publishes the full blocks of [landed, end) and moves landed there; returns displaced blocks.
  KvLease Advance(uint32_t end);

  KvCache* cache_;
  SequenceTokens tokens_;
  KvLease blocks_;
  uint32_t landed_ = 0;
  uint32_t scheduled_ = 0;
  std::map<uint32_t, KvLease> waiting_;  // single blocks behind a gap, by place in the sequence
};

}  // namespace tandem
