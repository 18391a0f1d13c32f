#include "kernels/cpu/thread_team.h"

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

using std::chrono::microseconds;
using testing::Each;

TEST(ThreadTeamTest, RunsEachTaskOnce) {
  for (int threads : {1, 2, 5}) {
    ThreadTeam team(threads);
    EXPECT_EQ(team.num_threads(), threads);
    for (int tasks : {0, 1, 2, 3, 100}) {
      std::vector<int> counts(tasks);  // plain ints: Run itself must order the accesses
      team.Run(tasks, [&](int task, int) { ++counts[task]; });
      EXPECT_THAT(counts, Each(1)) << threads << " threads, " << tasks << " tasks";
    }
  }
}

TEST(ThreadTeamTest, OneThreadRunsInlineAndInOrder) {
  ThreadTeam team(1);
  const auto caller = std::this_thread::get_id();
  std::vector<int> order;
  team.Run(4, [&](int task, int thread) {
    EXPECT_EQ(std::this_thread::get_id(), caller);
    EXPECT_EQ(thread, 0);
    order.push_back(task);
  });
  EXPECT_THAT(order, testing::ElementsAre(0, 1, 2, 3));
}

// Thousands of short jobs with plain shared data: late workers must neither run a task of another
// job nor miss one.
void HammerWithShortJobs(ThreadTeam& team) {
  std::vector<int64_t> sums(team.num_threads() * 16);  // per thread, apart; no lock
  int64_t want = 0;
  int64_t input = 0;
  for (int job = 0; job < 3000; ++job) {
    const int tasks = job % 9;
    input = job;
    for (int t = 0; t < tasks; ++t) want += input + t;
    team.Run(tasks, [&](int task, int thread) { sums[thread * 16] += input + task; });
  }
  int64_t got = 0;
  for (int64_t sum : sums) got += sum;
  EXPECT_EQ(got, want);
}

TEST(ThreadTeamTest, ShortJobsBackToBack) {
  ThreadTeam team(3);
  HammerWithShortJobs(team);
}

TEST(ThreadTeamTest, WorkersThatParkAtOnceAreWoken) {
  ThreadTeam team(3, microseconds(0));
  HammerWithShortJobs(team);
}

TEST(ThreadTeamTest, TwoTasksCanRunAtTheSameTime) {
  ThreadTeam team(2, microseconds(0));
  // Each task waits for the other: this ends only if two threads take one each.
  std::atomic<int> arrived{0};
  team.Run(2, [&](int, int) {
    arrived.fetch_add(1);
    while (arrived.load() < 2) std::this_thread::yield();
  });
  EXPECT_EQ(arrived.load(), 2);
}

TEST(ThreadTeamTest, TeamsComeAndGo) {
  for (int i = 0; i < 50; ++i) {
    ThreadTeam team(1 + i % 4, microseconds(i % 3 * 20));
    if (i % 2 == 0) {
      int ran = 0;
      team.Run(1, [&](int, int) { ++ran; });
      EXPECT_EQ(ran, 1);
    }
  }
}

}  // namespace
}  // namespace tandem
