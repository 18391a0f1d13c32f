#include "common/engine/sequence.h"

#include <algorithm>
#include <utility>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/kv/block_size.h"

namespace tandem {

SequenceTokens::SequenceTokens(PrefixChain empty_chain, std::vector<TokenId> prompt,
                               absl::Span<const TokenId> outputs)
    : all_(std::move(prompt)), prompt_size_(all_.size()), chain_(std::move(empty_chain)) {
  TANDEM_CHECK(prompt_size_ > 0 && chain_.size() == 0);
  all_.insert(all_.end(), outputs.begin(), outputs.end());
  chain_.Append(all_);
}

void SequenceTokens::AppendOutput(TokenId token) {
  all_.push_back(token);
  chain_.Append(token);
}

Sequence::Sequence(KvCache* cache, SequenceTokens tokens)
    : cache_(cache), tokens_(std::move(tokens)) {}

uint32_t Sequence::MatchCached(uint32_t max_blocks) {
  TANDEM_CHECK(blocks_.empty());
  blocks_ = cache_->MatchPrefix(tokens_.chain(), tokens_.all(), max_blocks);
  landed_ = static_cast<uint32_t>(blocks_.size()) * kBlockTokens;
  scheduled_ = landed_;
  return landed_;
}

uint32_t Sequence::Land(uint32_t first_block, KvLease chunk) {
  TANDEM_CHECK(landed_ == blocks_.size() * kBlockTokens);
  TANDEM_CHECK(first_block + chunk.size() <= FullBlocks(tokens_.size()));
  const uint32_t before = landed_;
  for (uint32_t block = first_block; !chunk.empty(); ++block) {
    KvLease one = chunk.TakeFront(1);
    if (block >= blocks_.size()) waiting_.try_emplace(block, std::move(one));
  }
  while (!waiting_.empty() && waiting_.begin()->first == blocks_.size()) {
    blocks_.Append(std::move(waiting_.begin()->second));
    waiting_.erase(waiting_.begin());
  }
  // What is displaced was never in a step's block table: nothing in flight can use it.
  Advance(static_cast<uint32_t>(blocks_.size()) * kBlockTokens);
  scheduled_ = landed_;
  return landed_ - before;
}

absl::Status Sequence::Grow(uint32_t tokens) {
  const uint32_t wanted = BlocksCovering(tokens);
  if (wanted > blocks_.size()) {
    ASSIGN_OR_RETURN(KvLease fresh,
                     cache_->Acquire(wanted - static_cast<uint32_t>(blocks_.size())));
    blocks_.Append(std::move(fresh));
  }
  waiting_.clear();
  return absl::OkStatus();
}

void Sequence::Schedule(uint32_t end) {
  TANDEM_CHECK(scheduled_ < end && end <= tokens_.size());
  TANDEM_CHECK(BlocksCovering(end) <= blocks_.size());
  scheduled_ = end;
}

KvLease Sequence::Computed(uint32_t end) {
  TANDEM_CHECK(landed_ < end && end <= scheduled_);
  return Advance(end);
}

KvLease Sequence::Preempt() {
  waiting_.clear();
  landed_ = 0;
  scheduled_ = 0;
  return std::move(blocks_);
}

KvLease Sequence::Advance(uint32_t end) {
  KvLease displaced;
  for (uint32_t block = FullBlocks(landed_); block < FullBlocks(end); ++block) {
    displaced.Append(cache_->Publish(blocks_, block, tokens_.chain(), block, tokens_.all()));
  }
  landed_ = end;
  return displaced;
}

}  // namespace tandem
