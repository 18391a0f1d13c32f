#include "common/engine/fill_lease.h"

#include <gtest/gtest.h>

#include <optional>

namespace tandem {
namespace {

using std::chrono::seconds;
using enum FillState;
using Verdict = FillLease::Verdict;

constexpr Instant kStart{seconds(100)};
constexpr FillRange kRange{.first_block = 2, .num_blocks = 5};

FillAssignment Attempt(uint32_t attempt) {
  return {.attempt = attempt,
          .nonce = {.high = 7, .low = attempt},
          .prefill = Incarnation(attempt * 11),
          .fallback_after = seconds(10)};
}

// Leases in each row of the table. REMOTE has one attempt behind it, or two.
FillLease None() {
  FillLease lease;
  lease.AssignRemote(Attempt(1), kRange, kStart);
  lease.Lost(1, kStart);
  return lease;
}
FillLease Remote() {
  FillLease lease;
  lease.AssignRemote(Attempt(1), kRange, kStart);
  return lease;
}
FillLease LastRemote() {
  FillLease lease = None();
  lease.AssignRemote(Attempt(2), kRange, kStart);
  return lease;
}
FillLease Self() {
  FillLease lease;
  lease.AssignSelf();
  return lease;
}

void ExpectChange(const FillLease::Change& change, Verdict verdict,
                  std::optional<uint32_t> revoked_attempt) {
  EXPECT_EQ(change.verdict, verdict);
  ASSERT_EQ(change.revoked.has_value(), revoked_attempt.has_value());
  if (revoked_attempt) {
    EXPECT_EQ(*change.revoked, Attempt(*revoked_attempt).nonce);
  }
}

TEST(FillLeaseTest, StartsWithNobodyAndNoDeadline) {
  const FillLease lease;
  EXPECT_EQ(lease.state(), kNone);
  EXPECT_EQ(lease.deadline(), kNever);
  EXPECT_DEATH(lease.attempt(), "CHECK failed");
}

// ---- row NONE ----

TEST(FillLeaseTest, NoneAssignedRemote) {
  FillLease lease = None();
  ExpectChange(lease.AssignRemote(Attempt(2), kRange, kStart), Verdict::kAccepted, std::nullopt);
  EXPECT_EQ(lease.state(), kRemote);
  EXPECT_EQ(lease.attempt(), 2u);
  EXPECT_EQ(lease.nonce(), Attempt(2).nonce);
  EXPECT_EQ(lease.prefill(), Attempt(2).prefill);
  EXPECT_EQ(lease.range(), kRange);
}

TEST(FillLeaseTest, NoneAssignedAnOldAttempt) {
  FillLease lease = None();
  ExpectChange(lease.AssignRemote(Attempt(1), kRange, kStart), Verdict::kStale, std::nullopt);
  EXPECT_EQ(lease.state(), kNone);
}

TEST(FillLeaseTest, NoneAssignedSelf) {
  FillLease lease = None();
  ExpectChange(lease.AssignSelf(), Verdict::kAccepted, std::nullopt);
  EXPECT_EQ(lease.state(), kSelf);
}

TEST(FillLeaseTest, NoneLost) {
  FillLease lease = None();
  ExpectChange(lease.Lost(1, kStart), Verdict::kStale, std::nullopt);
  EXPECT_EQ(lease.state(), kNone);
}

TEST(FillLeaseTest, NoneExpired) {
  FillLease lease = None();
  std::optional<Nonce> revoked;
  EXPECT_FALSE(lease.Expire(kStart + seconds(9), &revoked));
  EXPECT_TRUE(lease.Expire(kStart + seconds(10), &revoked));
  EXPECT_EQ(revoked, std::nullopt);
  EXPECT_EQ(lease.state(), kSelf);
}

TEST(FillLeaseTest, NoneFilled) {
  FillLease lease = None();
  lease.Filled();
  EXPECT_EQ(lease.state(), kSelf);
}

// ---- row REMOTE ----

TEST(FillLeaseTest, RemoteAssignedRemoteRevokesTheOlder) {
  FillLease lease = Remote();
  ExpectChange(lease.AssignRemote(Attempt(2), kRange, kStart), Verdict::kAccepted, 1);
  EXPECT_FALSE(lease.Admits(Attempt(1).nonce));
  EXPECT_TRUE(lease.Admits(Attempt(2).nonce));
}

TEST(FillLeaseTest, RemoteAssignedTheSameAttemptAgain) {
  FillLease lease = Remote();
  ExpectChange(lease.AssignRemote(Attempt(1), kRange, kStart), Verdict::kStale, std::nullopt);
  EXPECT_TRUE(lease.Admits(Attempt(1).nonce));
}

TEST(FillLeaseTest, RemoteAssignedBeyondTheLastAttemptTakesOver) {
  FillLease lease = LastRemote();
  ExpectChange(lease.AssignRemote(Attempt(3), kRange, kStart), Verdict::kSuperseded, 2);
  EXPECT_EQ(lease.state(), kSelf);
}

TEST(FillLeaseTest, RemoteAssignedSelf) {
  FillLease lease = Remote();
  ExpectChange(lease.AssignSelf(), Verdict::kAccepted, 1);
  EXPECT_EQ(lease.state(), kSelf);
  EXPECT_FALSE(lease.Admits(Attempt(1).nonce));
}

TEST(FillLeaseTest, RemoteLostWaitsForTheRouter) {
  FillLease lease = Remote();
  ExpectChange(lease.Lost(1, kStart), Verdict::kAccepted, 1);
  EXPECT_EQ(lease.state(), kNone);
  EXPECT_EQ(lease.deadline(), kStart + seconds(10));
}

TEST(FillLeaseTest, LastRemoteLostTakesOver) {
  FillLease lease = LastRemote();
  ExpectChange(lease.Lost(2, kStart), Verdict::kAccepted, 2);
  EXPECT_EQ(lease.state(), kSelf);
}

TEST(FillLeaseTest, RemoteIgnoresTheLossOfAnotherAttempt) {
  FillLease lease = LastRemote();
  ExpectChange(lease.Lost(1, kStart), Verdict::kStale, std::nullopt);
  EXPECT_TRUE(lease.Admits(Attempt(2).nonce));
}

TEST(FillLeaseTest, RemoteExpired) {
  FillLease lease = Remote();
  std::optional<Nonce> revoked;
  EXPECT_FALSE(lease.Expire(kStart + seconds(9), &revoked));
  EXPECT_EQ(lease.state(), kRemote);
  EXPECT_TRUE(lease.Expire(kStart + seconds(10), &revoked));
  EXPECT_EQ(revoked, Attempt(1).nonce);
  EXPECT_EQ(lease.state(), kSelf);
}

TEST(FillLeaseTest, RemoteFilled) {
  FillLease lease = Remote();
  lease.Filled();
  EXPECT_EQ(lease.state(), kSelf);
  EXPECT_FALSE(lease.Admits(Attempt(1).nonce));
}

// ---- row SELF, which is final ----

TEST(FillLeaseTest, SelfAssignedRemote) {
  FillLease lease = Self();
  ExpectChange(lease.AssignRemote(Attempt(1), kRange, kStart), Verdict::kSuperseded, std::nullopt);
  EXPECT_EQ(lease.state(), kSelf);
}

TEST(FillLeaseTest, SelfAssignedSelf) {
  FillLease lease = Self();
  ExpectChange(lease.AssignSelf(), Verdict::kSuperseded, std::nullopt);
}

TEST(FillLeaseTest, SelfLost) {
  FillLease lease = Self();
  ExpectChange(lease.Lost(1, kStart), Verdict::kStale, std::nullopt);
  EXPECT_EQ(lease.state(), kSelf);
}

TEST(FillLeaseTest, SelfNeverExpires) {
  FillLease lease = Self();
  std::optional<Nonce> revoked;
  EXPECT_EQ(lease.deadline(), kNever);
  EXPECT_FALSE(lease.Expire(kNever, &revoked));
}

TEST(FillLeaseTest, SelfFilled) {
  FillLease lease = Self();
  lease.Filled();
  EXPECT_EQ(lease.state(), kSelf);
}

// ---- the deadline ----

TEST(FillLeaseDeadlineTest, ProgressStartsItAgain) {
  FillLease lease = Remote();
  lease.Progress(kStart + seconds(4));
  EXPECT_EQ(lease.deadline(), kStart + seconds(14));
}

TEST(FillLeaseDeadlineTest, StandsStillWhileAnOfferWaits) {
  FillLease lease = Remote();
  lease.Hold(kStart + seconds(4));
  lease.Hold(kStart + seconds(50));
  EXPECT_TRUE(lease.held());
  EXPECT_EQ(lease.deadline(), kNever);
  std::optional<Nonce> revoked;
  EXPECT_FALSE(lease.Expire(kStart + seconds(1000), &revoked));
  lease.Resume(kStart + seconds(1000));
  lease.Resume(kStart + seconds(2000));
  EXPECT_EQ(lease.deadline(), kStart + seconds(1006));
}

TEST(FillLeaseDeadlineTest, ProgressWhileHeldGivesTheFullTime) {
  FillLease lease = Remote();
  lease.Hold(kStart + seconds(4));
  lease.Progress(kStart + seconds(5));
  lease.Resume(kStart + seconds(6));
  EXPECT_EQ(lease.deadline(), kStart + seconds(16));
}

TEST(FillLeaseDeadlineTest, RunsOnWhenAWaitingFillerIsLost) {
  FillLease lease = Remote();
  lease.Hold(kStart + seconds(4));
  lease.Lost(1, kStart + seconds(20));
  EXPECT_FALSE(lease.held());
  EXPECT_EQ(lease.deadline(), kStart + seconds(26));
}

TEST(FillLeaseDeadlineTest, ANewFillerHasItsOwn) {
  FillLease lease = Remote();
  lease.Hold(kStart + seconds(4));
  lease.AssignRemote(Attempt(2), kRange, kStart + seconds(20));
  EXPECT_EQ(lease.deadline(), kStart + seconds(30));
}

TEST(FillLeaseDeadlineTest, AnEndlessLimitDoesNotOverflow) {
  FillLease lease;
  FillAssignment assignment = Attempt(1);
  assignment.fallback_after = Duration::max();
  lease.AssignRemote(assignment, kRange, kStart);
  EXPECT_EQ(lease.deadline(), kNever);
  lease.Hold(kStart + seconds(1));
  lease.Resume(kStart + seconds(2));
  EXPECT_EQ(lease.deadline(), kNever);
}

}  // namespace
}  // namespace tandem
