// RouterCore forgets: nothing of a worker's former life, nothing of a request that has ended.
#include <set>

#include "router/core/router_core.h"
#include "tests/router/core/core_harness.h"

namespace tandem {
namespace {

constexpr WorkerRole kP = WorkerRole::kPrefill;
constexpr WorkerRole kD = WorkerRole::kDecode;

TEST(RouterCoreConservationTest, NewIncarnationForgetsPrefixes) {
  CoreHarness h;
  h.Up(0, kD, 10);
  h.Up(1, kD, 11);
  h.Submit(2, 1000);
  const uint32_t holder = h.Sent<Generate>(0).empty() ? 1 : 0;
  h.Receive(holder, Booked{RequestId(2), 1, 0});
  h.Receive(holder, CoreHarness::Last(2, 1, 0, {1}));
  h.Down(holder);
  h.Up(holder, kD, 20);
  // The tie-break of an odd id prefers the other one, as nothing is known of either.
  h.Submit(3, 1000);
  EXPECT_EQ(h.Sent<Generate>(1 - holder).size(), 1u);
}

// Seeded random events; at the end nothing may be left, and every request has exactly one end.
TEST(RouterCoreConservationTest, RandomEventsLeaveNothingBehind) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    CoreHarness h;
    uint64_t state = seed * 0x9E3779B97F4A7C15u;
    const auto random = [&state](uint64_t n) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      return (state >> 33) % n;
    };
    uint64_t next_incarnation = 1;
    uint64_t next_request = 0;
    for (int step = 0; step < 300; ++step) {
      const uint32_t worker = static_cast<uint32_t>(random(4));
      const WorkerRole role = worker < 2 ? kP : kD;
      const uint64_t id = next_request == 0 ? 1 : 1 + random(next_request);
      const uint32_t epoch = 1 + static_cast<uint32_t>(random(3));
      const uint32_t attempt = 1 + static_cast<uint32_t>(random(2));
      switch (random(12)) {
        case 0:
          h.Up(worker, role, next_incarnation++);
          break;
        case 1:
          if (random(3) == 0) h.Down(worker);
          break;
        case 2:
        case 3:
          h.Submit(++next_request, 10 + static_cast<uint32_t>(random(300)));
          break;
        case 4:
          h.ClientGone(id);
          break;
        case 5:
          h.Receive(worker, Booked{RequestId(id), epoch, static_cast<uint32_t>(random(300))});
          break;
        case 6:
          h.Receive(worker,
                    Refused{RequestId(id), epoch, static_cast<RefuseReason>(1 + random(5)), "no"});
          break;
        case 7:
          h.Receive(worker, CoreHarness::Frame(id, epoch, static_cast<uint32_t>(random(3)), {1}));
          break;
        case 8:
          h.Receive(worker, CoreHarness::Last(id, epoch, static_cast<uint32_t>(random(3)), {1},
                                              static_cast<FinishReason>(1 + random(3))));
          break;
        case 9:
          h.Receive(worker, FillLost{RequestId(id), epoch, attempt, "", random(2) == 0});
          break;
        case 10:
          h.Receive(worker, JobEnded{.request = RequestId(id),
                                     .epoch = epoch,
                                     .attempt = attempt,
                                     .result = static_cast<JobResult>(1 + random(5)),
                                     .message = "x"});
          break;
        case 11:
          h.Advance(std::chrono::milliseconds(random(1500)), {0, 1, 2});
          break;
      }
    }
    h.Advance(11s, {});
    h.Advance(600s, {});
    ASSERT_EQ(h.core.active_requests(), 0u) << "seed " << seed;
    ASSERT_EQ(h.ended.size(), next_request) << "seed " << seed;
    std::set<uint64_t> ids;
    for (const EndStream& end : h.ended) ids.insert(end.request.value());
    ASSERT_EQ(ids.size(), next_request);
    ASSERT_EQ(h.core.NextDeadline(), kNever);
    const RouterStats& stats = h.core.stats();
    ASSERT_EQ(stats.finished + stats.cancelled + stats.failed, stats.submitted);
    ASSERT_EQ(stats.queued, 0u);
  }
}

}  // namespace
}  // namespace tandem
