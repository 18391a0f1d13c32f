#include "tests/sim/workload.h"

#include <algorithm>

namespace tandem::sim {
namespace {

using std::chrono::milliseconds;

TokenId DrawPromptToken(Random* random) {
  return static_cast<TokenId>(3 + random->Below(kVocabulary - 3));
}

uint32_t DrawLength(Random* random) {
  if (random->Chance(0.3)) return random->Between(1, 32);
  if (random->Chance(0.2)) return 16 * random->Between(1, kLongestPrompt / 16);  // block ends
  return random->Between(33, kLongestPrompt);
}

SamplingParams DrawSampling(Random* random) {
  SamplingParams sampling;
  sampling.temperature = random->Chance(0.5) ? 0.0f : 1.0f;
  sampling.seed = random->Next();
  sampling.max_tokens = random->Between(1, kMostOutputs);
  if (random->Chance(0.3)) {
    sampling.min_tokens = random->Between(0, sampling.max_tokens);
  }
  sampling.ignore_eos = random->Chance(0.2);
  if (random->Chance(0.2)) sampling.top_logprobs = static_cast<int32_t>(random->Below(3));
  return sampling;
}

// A stop id that the output does reach.
void DrawStopTokens(Random* random, ClientRequest* request) {
  if (!random->Chance(0.25)) return;
  const std::vector<TokenId> outputs = Undisturbed(request->prompt, request->sampling).tokens;
  if (outputs.empty()) return;
  request->sampling.stop_token_ids = {outputs[random->Below(outputs.size())],
                                      DrawPromptToken(random)};
}

}  // namespace

std::vector<ClientRequest> DrawWorkload(Random* random, uint32_t count, Duration span) {
  // Prompts share prefixes: each starts with a part of one of these.
  std::vector<std::vector<TokenId>> stems(random->Between(1, 4));
  for (auto& stem : stems) {
    stem.resize(kLongestPrompt);
    for (TokenId& token : stem) token = DrawPromptToken(random);
  }
  const bool salted = random->Chance(0.3);
  std::vector<ClientRequest> requests(count);
  for (uint32_t i = 0; i < count; ++i) {
    ClientRequest& r = requests[i];
    r.id = RequestId(i + 1);
    r.at = random->Between(Duration{}, span);
    const uint32_t length = DrawLength(random);
    const auto& stem = stems[random->Below(stems.size())];
    const uint32_t shared = random->Chance(0.7) ? random->Between(0, length) : 0;
    r.prompt.assign(stem.begin(), stem.begin() + shared);
    while (r.prompt.size() < length) r.prompt.push_back(DrawPromptToken(random));
    r.sampling = DrawSampling(random);
    DrawStopTokens(random, &r);
    if (salted && random->Chance(0.5)) r.salt = "another tenant";
    if (random->Chance(0.5)) r.lane = Lane::kBulk;
    if (random->Chance(0.1)) r.time_limit = random->Between(milliseconds(5), milliseconds(4000));
    if (random->Chance(0.15)) r.leaves_after = random->Between(Duration{}, milliseconds(600));
    if (random->Chance(0.1)) r.matches_after = random->Between(1, kMostOutputs);
    r.expected = Undisturbed(r.prompt, r.sampling);
  }
  std::sort(requests.begin(), requests.end(),
            [](const ClientRequest& a, const ClientRequest& b) { return a.at < b.at; });
  return requests;
}

ClientRequest DrawProbe(Random* random, uint64_t id) {
  ClientRequest probe;
  probe.id = RequestId(id);
  probe.prompt.resize(random->Between(100, kLongestPrompt));
  for (TokenId& token : probe.prompt) token = DrawPromptToken(random);
  if (random->Chance(0.5)) probe.lane = Lane::kBulk;
  probe.sampling.temperature = 0;
  probe.sampling.max_tokens = 16;
  probe.expected = Undisturbed(probe.prompt, probe.sampling);
  return probe;
}

}  // namespace tandem::sim
