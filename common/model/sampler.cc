#include "common/model/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/model/philox.h"

namespace tandem {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

struct Candidate {
  TokenId token = 0;
  float logit = 0;
};

// Best first; equal logits by id, so that every cut is defined.
bool RanksBefore(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
}

bool Contains(absl::Span<const TokenId> tokens, TokenId token) {
  return std::find(tokens.begin(), tokens.end(), token) != tokens.end();
}

absl::StatusOr<float> CheckedMaximum(absl::Span<const float> logits) {
  float maximum = kMinusInfinity;
  for (size_t i = 0; i < logits.size(); ++i) {
    // NaN and +infinity both fail this comparison.
    if (!(logits[i] < std::numeric_limits<float>::infinity())) {
      return absl::InternalError(
          absl::StrCat("the model computed a logit of ", logits[i], " for token ", i));
    }
    maximum = std::max(maximum, logits[i]);
  }
  if (maximum == kMinusInfinity) return absl::InternalError("the model computed no finite logit");
  return maximum;
}

// Sorts the best `count` candidates to the front, the others stay behind them in any order.
void RankFirst(std::vector<Candidate>& candidates, size_t count) {
  if (count < candidates.size()) {
    std::nth_element(candidates.begin(), candidates.begin() + count, candidates.end(), RanksBefore);
  }
  std::sort(candidates.begin(), candidates.begin() + std::min(count, candidates.size()),
            RanksBefore);
}

std::vector<Candidate> AllowedCandidates(absl::Span<const float> logits,
                                         absl::Span<const TokenId> banned) {
  std::vector<Candidate> candidates;
  candidates.reserve(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    const TokenId token = static_cast<TokenId>(i);
    if (!Contains(banned, token)) candidates.push_back({token, logits[i]});
  }
  return candidates;
}

// exp((logit - best) / temperature): the unnormalized probability, at most 1.
class Weigher {
 public:
  Weigher(float best, float temperature) : best_(best), temperature_(temperature) {}
  double operator()(const Candidate& c) const { return std::exp((c.logit - best_) / temperature_); }

 private:
  float best_;
  float temperature_;
};

// Cuts to the smallest front whose weight reaches `top_p` of the whole, in rank order.
void CutToNucleus(std::vector<Candidate>& candidates, const Weigher& weight, double top_p) {
  double total = 0;
  for (const Candidate& c : candidates) total += weight(c);
  const double wanted = top_p * total;
  double mass = 0;
  size_t kept = 0;
  RankFirst(candidates, 1);
  // A nucleus is small as a rule, so rank a little at a time instead of sorting the vocabulary.
  for (size_t ranked = 0; mass < wanted && ranked < candidates.size();) {
    const size_t next = std::min(candidates.size(), std::max<size_t>(64, ranked * 8));
    RankFirst(candidates, next);
    ranked = next;
    for (; kept < ranked && mass < wanted; ++kept) mass += weight(candidates[kept]);
  }
  candidates.resize(std::max<size_t>(kept, 1));
}

TokenId Draw(absl::Span<const Candidate> candidates, const Weigher& weight, double uniform) {
  double total = 0;
  for (const Candidate& c : candidates) total += weight(c);
  const double target = uniform * total;
  double mass = 0;
  TokenId last_possible = candidates.front().token;
  for (const Candidate& c : candidates) {
    const double w = weight(c);
    if (w == 0) continue;
    mass += w;
    last_possible = c.token;
    if (mass > target) break;
  }
  return last_possible;
}

// Nothing when every token is banned.
std::optional<TokenId> Greedy(absl::Span<const float> logits, absl::Span<const TokenId> banned) {
  std::optional<TokenId> best;
  for (size_t i = 0; i < logits.size(); ++i) {
    if ((!best || logits[i] > logits[*best]) && !Contains(banned, i)) best = i;
  }
  return best;
}

// REQUIRES: candidates is not empty.
TokenId DrawToken(std::vector<Candidate> candidates, const SamplingParams& params, double uniform) {
  const Candidate best = *std::min_element(candidates.begin(), candidates.end(), RanksBefore);
  if (best.logit == kMinusInfinity) return best.token;
  const Weigher weight(best.logit, params.temperature);
  if (params.top_k > 0 && static_cast<size_t>(params.top_k) < candidates.size()) {
    RankFirst(candidates, params.top_k);
    candidates.resize(params.top_k);
  }
  if (params.top_p < 1.0f) CutToNucleus(candidates, weight, params.top_p);
  return Draw(candidates, weight, uniform);
}

std::optional<TokenId> Choose(absl::Span<const float> logits, const SamplingParams& params,
                              double uniform, absl::Span<const TokenId> banned) {
  if (!(params.temperature > 0)) return Greedy(logits, banned);
  std::vector<Candidate> candidates = AllowedCandidates(logits, banned);
  if (candidates.empty()) return std::nullopt;
  return DrawToken(std::move(candidates), params, uniform);
}

OutputLogprobs Logprobs(absl::Span<const float> logits, float maximum, TokenId chosen,
                        int32_t top) {
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - maximum);
  const double log_sum = maximum + std::log(sum);
  const auto logprob = [&](TokenId token) {
    return TokenLogprob{token, static_cast<float>(logits[token] - log_sum)};
  };
  OutputLogprobs result;
  result.chosen = logprob(chosen);
  std::vector<Candidate> ranked = AllowedCandidates(logits, {});
  const size_t count = std::min<size_t>(top, ranked.size());
  RankFirst(ranked, count);
  for (size_t i = 0; i < count; ++i) result.top.push_back(logprob(ranked[i].token));
  return result;
}

}  // namespace

absl::StatusOr<SampledChoice> SampleToken(absl::Span<const float> logits,
                                          const SamplingParams& params, uint32_t choice,
                                          uint32_t output_index, absl::Span<const TokenId> banned) {
  ASSIGN_OR_RETURN(const float maximum, CheckedMaximum(logits));
  const std::optional<TokenId> token =
      Choose(logits, params, UniformDraw(params.seed, choice, output_index), banned);
  if (!token) return absl::InvalidArgumentError("every token is banned");
  SampledChoice result;
  result.token = *token;
  if (params.top_logprobs >= 0) {
    result.logprobs = Logprobs(logits, maximum, result.token, params.top_logprobs);
  }
  return result;
}

}  // namespace tandem
