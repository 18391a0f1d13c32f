#include "common/kv/ledger.h"

#include <gtest/gtest.h>

#include <utility>

#include "common/kv/lru_eviction.h"

namespace tandem {
namespace {

class LedgerTest : public testing::Test {
 protected:
  BlockPool pool_{10, std::make_unique<LruEviction>(), [](BlockId, const PrefixLink&) {}};
  Ledger ledger_{&pool_, 2};
};

TEST_F(LedgerTest, BooksUpToTheTotalWithoutTheReserve) {
  const Booking five = ledger_.Book(5).value();
  const Booking three = ledger_.Book(3).value();
  EXPECT_EQ(ledger_.booked(), 8u);
  EXPECT_EQ(ledger_.available(), 0u);
  EXPECT_EQ(ledger_.Book(1).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ledger_.booked(), 8u);
}

TEST_F(LedgerTest, RefusesForEverWhatCanNeverFit) {
  EXPECT_EQ(ledger_.Book(9).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(ledger_.Book(UINT32_MAX).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_TRUE(ledger_.Book(8).ok());
}

TEST_F(LedgerTest, ABookingEndsWithItsObjectAndOnce) {
  Booking booking = ledger_.Book(8).value();
  Booking moved = std::move(booking);
  booking.Release();  // NOLINT(bugprone-use-after-move)
  EXPECT_EQ(ledger_.booked(), 8u);
  moved.Release();
  moved.Release();
  EXPECT_EQ(ledger_.booked(), 0u);
  { const Booking again = ledger_.Book(8).value(); }
  EXPECT_EQ(ledger_.available(), 8u);
}

TEST_F(LedgerTest, AssignmentGivesTheOldBookingBack) {
  Booking booking = ledger_.Book(6).value();
  booking = ledger_.Book(2).value();
  EXPECT_EQ(ledger_.booked(), 2u);
}

TEST_F(LedgerTest, QuarantinedBlocksCannotBeBooked) {
  QuarantineLease quarantine = pool_.AcquireLanding(3).value().Quarantine();
  EXPECT_EQ(ledger_.available(), 5u);
  EXPECT_EQ(ledger_.Book(6).status().code(), absl::StatusCode::kResourceExhausted);
  pool_.EndQuarantine(std::move(quarantine));
  EXPECT_TRUE(ledger_.Book(6).ok());
}

TEST_F(LedgerTest, MayBeOverbookedByQuarantineWithoutUnderflow) {
  const Booking booking = ledger_.Book(8).value();
  const QuarantineLease quarantine = pool_.AcquireLanding(3).value().Quarantine();
  EXPECT_EQ(ledger_.available(), 0u);
}

TEST_F(LedgerTest, AReserveBeyondThePoolLeavesNothing) {
  Ledger none(&pool_, 11);
  EXPECT_EQ(none.capacity(), 0u);
  EXPECT_EQ(none.Book(1).status().code(), absl::StatusCode::kOutOfRange);
}

TEST(LedgerLifeTest, BookingThatOutlivesItsLedgerDies) {
  BlockPool pool(4, std::make_unique<LruEviction>(), [](BlockId, const PrefixLink&) {});
  EXPECT_DEATH(
      {
        Booking booking;
        Ledger ledger(&pool, 0);
        booking = ledger.Book(1).value();
      },
      "a booking outlives its ledger");
}

}  // namespace
}  // namespace tandem
