#include "common/engine/admission.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tandem {
namespace {

using ::testing::ElementsAre;

struct Waiting {
  int id = 0;
  Lane lane = Lane::kInteractive;
  Instant arrived;
};

constexpr Instant kStart{std::chrono::hours(1)};

std::vector<int> Order(std::vector<Waiting> waiting, Instant now) {
  std::vector<const Waiting*> order;
  for (const Waiting& w : waiting) order.push_back(&w);
  SortForAdmission(&order, now, [](const Waiting& w) { return w.arrived; });
  std::vector<int> ids;
  for (const Waiting* w : order) ids.push_back(w->id);
  return ids;
}

TEST(AdmissionTest, InteractiveWorkGoesFirstAndEachLaneByArrival) {
  EXPECT_THAT(Order({{1, Lane::kBulk, kStart},
                     {2, Lane::kInteractive, kStart},
                     {3, Lane::kBulk, kStart},
                     {4, Lane::kInteractive, kStart}},
                    kStart),
              ElementsAre(2, 4, 1, 3));
}

TEST(AdmissionTest, BulkWorkWhosePatienceIsOverStandsBeforeAllThatCameLater) {
  const Instant later = kStart + std::chrono::seconds(1);
  const std::vector<Waiting> waiting = {{1, Lane::kInteractive, kStart},
                                        {2, Lane::kBulk, kStart},
                                        {3, Lane::kBulk, later},
                                        {4, Lane::kInteractive, later}};
  EXPECT_THAT(Order(waiting, kStart + kBulkPatience - Duration(1)), ElementsAre(1, 4, 2, 3));
  EXPECT_THAT(Order(waiting, kStart + kBulkPatience), ElementsAre(1, 2, 4, 3));
}

TEST(AdmissionTest, OfABacklogOnlyTheOldestBulkWorkStandsBeforeInteractiveWork) {
  const Instant later = kStart + kBulkPatience;
  EXPECT_THAT(Order({{1, Lane::kBulk, kStart},
                     {2, Lane::kBulk, kStart},
                     {3, Lane::kBulk, kStart},
                     {4, Lane::kInteractive, later}},
                    later + kBulkPatience),
              ElementsAre(1, 4, 2, 3));
}

}  // namespace
}  // namespace tandem
