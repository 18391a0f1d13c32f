// tandem_sim: runs seeds of the simulated cluster. See README.md in this folder.
#include <cstdio>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "tests/sim/cluster.h"

ABSL_FLAG(uint64_t, seeds, 100, "how many seeds to run");
ABSL_FLAG(uint64_t, first, 1, "the first of them");
ABSL_FLAG(uint64_t, seed, 0, "runs this one alone and prints its event log");

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  using namespace tandem::sim;
  if (const uint64_t seed = absl::GetFlag(FLAGS_seed); seed != 0) {
    const RunResult r = Cluster(seed, true).Run();
    std::printf("seed %lu: %s, %lu events, digest %lx\n", seed, r.failure.c_str(), r.events,
                r.digest);
    return !r.failure.empty();
  }
  int failed = 0;
  const uint64_t first = absl::GetFlag(FLAGS_first);
  for (uint64_t seed = first; seed < first + absl::GetFlag(FLAGS_seeds); ++seed) {
    std::fprintf(stderr, "\r%lu", seed);
    const RunResult r = Cluster(seed, false).Run();
    if (!r.failure.empty()) {
      ++failed;
      std::printf("seed %lu: %s\n", seed, r.failure.c_str());
    }
  }
  std::printf("%d failed\n", failed);
}
