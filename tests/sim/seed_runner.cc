#include "tests/sim/seed_runner.h"

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <deque>
#include <memory>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/check.h"
#include "tests/sim/cluster.h"
#include "tests/sim/switches.h"

namespace tandem::sim {
namespace {

// A seed takes milliseconds; only a loop without end takes so long, also under a sanitizer.
constexpr unsigned kWatchdogSeconds = 120;

// What a child writes, a line each; anything else is what a CHECK or a sanitizer said.
constexpr absl::string_view kStart = "@start ";
constexpr absl::string_view kPassed = "@passed ";
constexpr absl::string_view kFailed = "@failed ";
constexpr absl::string_view kReached = "@reached ";

struct Child {
  pid_t pid = 0;
  int out = -1;
  std::string unread;
  uint64_t next = 0;             // the seed it runs, or will run
  std::optional<uint64_t> runs;  // started and not ended
  std::string last_words;        // of the seed that runs
};

// Starts `body` in a child whose standard output and error come back through Child::out.
template <class Body>
Child Fork(uint64_t seed, const Body& body) {
  int fds[2];
  TANDEM_CHECK(pipe(fds) == 0);
  std::fflush(stdout);
  const pid_t pid = fork();
  TANDEM_CHECK(pid >= 0);
  if (pid == 0) {
    close(fds[0]);
    dup2(fds[1], STDOUT_FILENO);
    dup2(fds[1], STDERR_FILENO);
    close(fds[1]);
    body();
    std::fflush(stdout);
    _exit(0);
  }
  close(fds[1]);
  Child child;
  child.pid = pid;
  child.out = fds[0];
  child.next = seed;
  return child;
}

void Say(absl::string_view kind, absl::string_view text) {
  std::printf("%.*s%.*s\n", static_cast<int>(kind.size()), kind.data(),
              static_cast<int>(text.size()), text.data());
  std::fflush(stdout);
}

void RunInChild(const SeedRange& range, uint64_t first) {
  if (range.without) SwitchOff(*range.without);
  Coverage coverage;
  for (uint64_t seed = first; seed < range.first + range.count; seed += range.jobs) {
    Say(kStart, absl::StrCat(seed));
    alarm(kWatchdogSeconds);
    const RunResult result = Cluster(seed, /*log_enabled=*/false).Run();
    for (const auto& [name, count] : result.coverage.counts()) coverage.Add(name, count);
    if (result.failure.empty()) {
      Say(kPassed, absl::StrCat(result.events));
      continue;
    }
    Say(kFailed, result.failure);
    if (range.stop_at_failure) return;
  }
  for (const auto& [name, count] : coverage.counts()) {
    Say(kReached, absl::StrCat(count, " ", name));
  }
}

void HandleLine(absl::string_view line, const SeedRange& range, Child* child, SeedReport* report) {
  uint64_t number = 0;
  if (absl::ConsumePrefix(&line, kStart)) {
    TANDEM_CHECK(absl::SimpleAtoi(line, &number));
    child->runs = number;
    child->next = number;
    child->last_words.clear();
  } else if (absl::ConsumePrefix(&line, kPassed)) {
    TANDEM_CHECK(absl::SimpleAtoi(line, &number));
    ++report->passed;
    report->events += number;
    child->runs.reset();
    child->next += range.jobs;
  } else if (absl::ConsumePrefix(&line, kFailed)) {
    report->failed.push_back({*child->runs, std::string(line)});
    child->runs.reset();
    child->next += range.jobs;
  } else if (absl::ConsumePrefix(&line, kReached)) {
    const std::pair<std::string, std::string> parts = absl::StrSplit(line, absl::MaxSplits(' ', 1));
    TANDEM_CHECK(absl::SimpleAtoi(parts.first, &number));
    report->coverage.Add(parts.second, number);
  } else if (child->last_words.size() < 2000) {
    absl::StrAppend(&child->last_words, child->last_words.empty() ? "" : " | ", line);
  }
}

// False at the end of what it writes.
bool ReadSome(Child* child) {
  char bytes[1 << 14];
  const ssize_t n = read(child->out, bytes, sizeof(bytes));
  if (n <= 0) return false;
  child->unread.append(bytes, static_cast<size_t>(n));
  return true;
}

void HandleLines(const SeedRange& range, Child* child, SeedReport* report) {
  size_t end = 0;
  while ((end = child->unread.find('\n')) != std::string::npos) {
    HandleLine(child->unread.substr(0, end), range, child, report);
    child->unread.erase(0, end + 1);
  }
}

// Waits for the child; a seed that it did not end has failed.
void Reap(Child* child, const SeedRange& range, SeedReport* report) {
  close(child->out);
  int status = 0;
  waitpid(child->pid, &status, 0);
  if (!child->runs) return;
  std::string failure = child->last_words;
  if (failure.empty()) failure = absl::StrCat("ended with status ", status);
  report->failed.push_back({*child->runs, std::move(failure)});
  child->runs.reset();
  child->next += range.jobs;
}

}  // namespace

SeedReport RunSeeds(const SeedRange& range) {
  SeedReport report;
  const auto start = [&range](uint64_t seed) {
    return Fork(seed, [&range, seed] { RunInChild(range, seed); });
  };
  std::vector<Child> children;
  for (uint32_t job = 0; job < range.jobs; ++job) children.push_back(start(range.first + job));
  while (!children.empty()) {
    std::vector<pollfd> fds;
    for (const Child& child : children) fds.push_back({child.out, POLLIN, 0});
    TANDEM_CHECK(poll(fds.data(), fds.size(), -1) > 0);
    for (size_t i = fds.size(); i-- > 0;) {
      if (fds[i].revents == 0) continue;
      Child& child = children[i];
      if (ReadSome(&child)) {
        HandleLines(range, &child, &report);
        continue;
      }
      const bool died = child.runs.has_value();
      Reap(&child, range, &report);
      const bool more = child.next < range.first + range.count;
      if (died && more && !range.stop_at_failure) {
        child = start(child.next);
      } else {
        children.erase(children.begin() + static_cast<std::ptrdiff_t>(i));
      }
    }
  }
  std::sort(report.failed.begin(), report.failed.end(),
            [](const FailedSeed& a, const FailedSeed& b) { return a.seed < b.seed; });
  return report;
}

std::string ReplaySeed(uint64_t seed, std::optional<Protection> without) {
  if (without) SwitchOff(*without);
  const RunResult result = Cluster(seed, /*log_enabled=*/true).Run();
  std::printf("seed %llu: %llu events, digest %016llx\n", static_cast<unsigned long long>(seed),
              static_cast<unsigned long long>(result.events),
              static_cast<unsigned long long>(result.digest));
  return result.failure;
}

std::string LogTailOf(uint64_t seed, std::optional<Protection> without, size_t num_lines) {
  Child child = Fork(seed, [&] {
    alarm(kWatchdogSeconds);
    ReplaySeed(seed, without);
  });
  while (ReadSome(&child)) {
  }
  close(child.out);
  waitpid(child.pid, nullptr, 0);
  const std::vector<std::string> lines = absl::StrSplit(child.unread, '\n', absl::SkipEmpty());
  const size_t from = lines.size() - std::min(lines.size(), num_lines);
  return absl::StrJoin(lines.begin() + static_cast<std::ptrdiff_t>(from), lines.end(), "\n");
}

}  // namespace tandem::sim
