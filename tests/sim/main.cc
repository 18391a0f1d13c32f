// tandem_sim: runs seeds of the simulated cluster, replays one, or proves that the oracle sees each
// protection that is missing. See README.md in this folder. The last line is "N passed, N failed".

#include <algorithm>
#include <cstdio>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "tests/sim/seed_runner.h"
#include "tests/sim/switches.h"

ABSL_FLAG(uint64_t, seeds, 100, "how many seeds to run");
ABSL_FLAG(uint64_t, first, 1, "the first of them");
ABSL_FLAG(uint64_t, seed, 0, "run this one alone and print its event log");
ABSL_FLAG(uint32_t, jobs, 2, "processes that run seeds");
ABSL_FLAG(std::string, without, "", "switch this protection off: epoch-fence, checksum ...");
ABSL_FLAG(bool, prove_oracle, false, "switch off each protection in turn: all must be seen");

namespace tandem::sim {
namespace {

// Failing seeds whose log is printed, and how much of it.
constexpr size_t kLogsShown = 3;
constexpr size_t kLogLines = 120;
// A protection that is missing must be seen within so many seeds.
constexpr uint64_t kProofSeeds = 500;

unsigned long long Long(uint64_t n) { return n; }

int Close(uint64_t passed, uint64_t failed) {
  std::printf("%llu passed, %llu failed\n", Long(passed), Long(failed));
  return failed == 0 ? 0 : 1;
}

void ShowFailures(const SeedReport& report, std::optional<Protection> without) {
  for (size_t i = 0; i < report.failed.size(); ++i) {
    const FailedSeed& failed = report.failed[i];
    if (i < kLogsShown) {
      std::printf("---- seed %llu, the end of its event log\n%s\n", Long(failed.seed),
                  LogTailOf(failed.seed, without, kLogLines).c_str());
    }
    std::printf("FAILED seed %llu: %s\n  replay: tests/sim/run --seed %llu%s%s\n",
                Long(failed.seed), failed.failure.c_str(), Long(failed.seed),
                without ? " --without " : "", without ? ProtectionName(*without) : "");
  }
}

int RunMany(const SeedRange& range) {
  const SeedReport report = RunSeeds(range);
  for (const auto& [name, count] : report.coverage.counts()) {
    std::printf("%12llu  %s\n", Long(count), name.c_str());
  }
  std::printf("%12llu  events\n", Long(report.events));
  ShowFailures(report, range.without);
  return Close(report.passed, report.failed.size());
}

int Replay(uint64_t seed, std::optional<Protection> without) {
  const std::string failure = ReplaySeed(seed, without);
  if (!failure.empty()) std::printf("FAILED seed %llu: %s\n", Long(seed), failure.c_str());
  return Close(failure.empty(), !failure.empty());
}

// With everything on, all seeds are green; with any one protection off, some seed is red.
int ProveOracle(uint32_t jobs) {
  uint64_t passed = 0;
  const SeedReport whole = RunSeeds({.count = kProofSeeds, .jobs = jobs});
  ShowFailures(whole, std::nullopt);
  std::printf("nothing off: %llu of %llu seeds are green\n", Long(whole.passed), Long(kProofSeeds));
  passed += whole.failed.empty();
  for (int i = 0; i < kNumProtections; ++i) {
    const auto off = static_cast<Protection>(i);
    const SeedReport report =
        RunSeeds({.count = kProofSeeds, .stop_at_failure = true, .without = off});
    if (report.failed.empty()) {
      std::printf("%s off: NOT SEEN within %llu seeds\n", ProtectionName(off), Long(kProofSeeds));
      continue;
    }
    ++passed;
    std::printf("%s off: red at seed %llu: %s\n", ProtectionName(off), Long(report.failed[0].seed),
                report.failed[0].failure.c_str());
    std::fflush(stdout);
  }
  return Close(passed, 1 + kNumProtections - passed);
}

int Main() {
  std::optional<Protection> without;
  if (const std::string name = absl::GetFlag(FLAGS_without); !name.empty()) {
    without = FindProtection(name);
    if (!without) {
      std::fprintf(stderr, "tandem_sim: no protection is called '%s'\n", name.c_str());
      return 2;
    }
  }
  const uint32_t jobs = std::max(1u, absl::GetFlag(FLAGS_jobs));
  if (absl::GetFlag(FLAGS_prove_oracle)) return ProveOracle(jobs);
  if (const uint64_t seed = absl::GetFlag(FLAGS_seed); seed != 0) return Replay(seed, without);
  return RunMany({.first = absl::GetFlag(FLAGS_first),
                  .count = absl::GetFlag(FLAGS_seeds),
                  .jobs = jobs,
                  .stop_at_failure = false,
                  .without = without});
}

}  // namespace
}  // namespace tandem::sim

int main(int argc, char** argv) {
  // A flag's name has underscores; --prove-oracle is how one types it.
  for (int i = 1; i < argc; ++i) {
    if (absl::string_view(argv[i]).substr(0, 2) != "--") continue;
    for (char* c = argv[i] + 2; *c != '\0' && *c != '='; ++c) {
      if (*c == '-') *c = '_';
    }
  }
  if (absl::ParseCommandLine(argc, argv).size() > 1) {
    std::fprintf(stderr, "tandem_sim: takes flags only, see tests/sim/README.md\n");
    return 2;
  }
  return tandem::sim::Main();
}
