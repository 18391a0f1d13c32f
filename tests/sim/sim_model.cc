#include "tests/sim/sim_model.h"

#include <algorithm>

namespace tandem::sim {
namespace {

// One token in this many ends the output.
constexpr uint64_t kEndEvery = 100;

bool Contains(const std::vector<TokenId>& tokens, TokenId token) {
  return std::find(tokens.begin(), tokens.end(), token) != tokens.end();
}

TokenId TokenOf(uint64_t x) {
  return x % kEndEvery == 0 ? kEndToken : static_cast<TokenId>(3 + (x >> 8) % (kVocabulary - 3));
}

TokenLogprob LogprobOf(TokenId token, uint64_t x) {
  return {token, -static_cast<float>(Mix(x, static_cast<uint64_t>(token)) % 4096) / 256};
}

}  // namespace

SampledToken DrawToken(uint64_t prefix, const SampleRequest& request) {
  const SamplingParams& params = *request.params;
  uint64_t x = Mix(prefix, 1);
  if (params.temperature > 0) {
    x = Mix(x ^ params.seed, (uint64_t{request.choice} << 32) + request.output_index);
  }
  TokenId token = TokenOf(x);
  while (Contains(request.banned, token)) token = TokenOf(x = Mix(x));
  SampledToken sampled{};
  sampled.token = token;
  if (params.top_logprobs >= 0) {
    OutputLogprobs logprobs{.chosen = LogprobOf(token, prefix), .top = {}};
    for (int32_t i = 0; i < params.top_logprobs; ++i) {
      logprobs.top.push_back(LogprobOf(3 + i, prefix));
    }
    sampled.logprobs = std::move(logprobs);
  }
  return sampled;
}

ExpectedStream Undisturbed(absl::Span<const TokenId> prompt, const SamplingParams& sampling) {
  uint64_t prefix = kEmptyPrefix;
  for (const TokenId token : prompt) prefix = ExtendPrefix(prefix, token);
  SampleRequest request;
  request.params = std::make_shared<const SamplingParams>(sampling);
  ExpectedStream stream;
  for (uint32_t i = 0; i < sampling.max_tokens; ++i) {
    request.output_index = i;
    request.banned.clear();
    if (i < sampling.min_tokens) {
      request.banned = sampling.stop_token_ids;
      if (!sampling.ignore_eos) request.banned.push_back(kEndToken);
    }
    const SampledToken sampled = DrawToken(prefix, request);
    if (!sampling.ignore_eos && sampled.token == kEndToken) {
      stream.reason = FinishReason::kStop;
      return stream;
    }
    if (Contains(sampling.stop_token_ids, sampled.token)) {
      stream.reason = FinishReason::kStop;
      stream.stop_token = sampled.token;
      return stream;
    }
    stream.tokens.push_back(sampled.token);
    if (sampled.logprobs) stream.logprobs.push_back(*sampled.logprobs);
    prefix = ExtendPrefix(prefix, sampled.token);
  }
  return stream;
}

void PrefixTree::Add(absl::Span<const TokenId> tokens) {
  uint64_t prefix = kEmptyPrefix;
  int32_t parent = -1;
  for (uint32_t i = 0; i < tokens.size(); ++i) {
    prefix = ExtendPrefix(prefix, tokens[i]);
    const auto [it, inserted] = by_prefix_.try_emplace(prefix, static_cast<int32_t>(nodes_.size()));
    if (inserted) nodes_.push_back({prefix, parent, i});
    parent = it->second;
  }
}

int32_t PrefixTree::Find(uint64_t prefix) const {
  const auto it = by_prefix_.find(prefix);
  return it == by_prefix_.end() ? -1 : it->second;
}

}  // namespace tandem::sim
