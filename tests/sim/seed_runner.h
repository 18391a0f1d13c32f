// Runs many seeds in child processes, so that a CHECK that fails in a core, or a loop without end,
// is the failure of its seed and not the end of all.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/base/protection.h"
#include "tests/sim/coverage.h"

namespace tandem::sim {

struct SeedRange {
  uint64_t first = 1;
  uint64_t count = 1;
  uint32_t jobs = 1;
  bool stop_at_failure = false;
  std::optional<Protection> without;  // switched off
};

struct FailedSeed {
  uint64_t seed = 0;
  std::string failure;
};

struct SeedReport {
  uint64_t passed = 0;
  uint64_t events = 0;
  std::vector<FailedSeed> failed;  // by seed
  Coverage coverage;
};

SeedReport RunSeeds(const SeedRange& range);

// Runs one seed alone and prints its event log. Returns the failure, empty when there is none; a
// CHECK that fails ends the process.
std::string ReplaySeed(uint64_t seed, std::optional<Protection> without);

// The last lines of the log that a replay of a failed seed prints.
std::string LogTailOf(uint64_t seed, std::optional<Protection> without, size_t num_lines);

}  // namespace tandem::sim
