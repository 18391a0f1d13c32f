// What the clients of a simulated cluster do, drawn from the seed before the run starts, with the
// answer that each of them must get.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/base/ids.h"
#include "common/protocol/router_messages.h"
#include "tests/sim/random.h"
#include "tests/sim/sim_model.h"

namespace tandem::sim {

inline constexpr uint32_t kLongestPrompt = 200;
inline constexpr uint32_t kMostOutputs = 48;

struct ClientRequest {
  RequestId id;
  Duration at{};  // from the start of the run
  std::vector<TokenId> prompt;
  SamplingParams sampling;
  std::string salt;
  Lane lane = Lane::kInteractive;
  std::optional<Duration> time_limit;     // of the request
  std::optional<Duration> leaves_after;   // the client goes away this long after asking
  std::optional<uint32_t> matches_after;  // a stop string of the client ends after this many tokens
  ExpectedStream expected;
};

// `count` requests within `span`.
std::vector<ClientRequest> DrawWorkload(Random* random, uint32_t count, Duration span);

// A request that nobody disturbs, to see that the cluster still serves.
ClientRequest DrawProbe(Random* random, uint64_t id);

}  // namespace tandem::sim
