#include "common/engine/cost_model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace tandem {
namespace {

// A machine: the weights take 5 ms, a row 1 ms, attention 0.8 us a position, reading KV 2.5 us.
double TrueMs(const StepWork& work) {
  return 5 + 1.0 * work.rows + 0.0008 * static_cast<double>(work.attended) +
         0.0025 * static_cast<double>(work.read);
}

Duration Ms(double ms) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double, std::milli>(ms));
}

// Decode steps of a few sequences, with a chunk of some prompt among them now and then.
class CostModelTest : public testing::Test {
 protected:
  StepWork Draw(bool chunk) {
    StepWork work;
    for (uint32_t i = 0; i <= random_() % 4; ++i) work += WorkOf(random_() % 3000, 1);
    if (chunk) work += WorkOf(random_() % 3000, 1 + random_() % 256);
    return work;
  }
  // Within 5 %.
  double Noise() { return 1 + (static_cast<double>(random_() % 1000) - 500) / 10000; }
  void ExpectWithin(double share, const StepWork& work) {
    EXPECT_NEAR(ToMilliseconds(model_.Predict(work)) / TrueMs(work), 1, share)
        << work.rows << " rows, " << work.attended << " attended, " << work.read << " read";
  }
  void Learn(int steps) {
    for (int i = 0; i < steps; ++i) {
      const StepWork work = Draw(i % 10 == 0);
      model_.Observe(work, Ms(TrueMs(work) * Noise()));
    }
  }

  StepCostModel model_;
  std::mt19937 random_{7};
};

TEST_F(CostModelTest, KnowsNothingAtFirst) {
  EXPECT_FALSE(model_.fitted());
  EXPECT_EQ(model_.Predict(WorkOf(0, 10)), Duration::zero());
  model_.Observe(WorkOf(0, 10), Duration::zero());  // no time is no observation
  EXPECT_FALSE(model_.fitted());
}

TEST_F(CostModelTest, LearnsWhatStepsOfEveryKindTake) {
  Learn(300);
  for (int i = 0; i < 100; ++i) ExpectWithin(0.15, Draw(i % 2 == 0));
}

TEST_F(CostModelTest, OneKindOfStepsDoesNotWashOutAnother) {
  Learn(300);
  for (int i = 0; i < 20000; ++i) {
    const StepWork work = Draw(false);
    model_.Observe(work, Ms(TrueMs(work) * Noise()));
  }
  ExpectWithin(0.2, WorkOf(1000, 200));
  ExpectWithin(0.2, WorkOf(2784, 16) + WorkOf(100, 1));
}

TEST_F(CostModelTest, StepsThatWereHeldUpHardlyCount) {
  for (int i = 0; i < 600; ++i) {
    const StepWork work = Draw(i % 10 == 0);
    model_.Observe(work, Ms(TrueMs(work) * (i % 20 == 7 ? 30 : 1)));
  }
  for (int i = 0; i < 50; ++i) ExpectWithin(0.3, Draw(i % 2 == 0));
}

TEST_F(CostModelTest, FollowsAMachineThatBecomesSlower) {
  Learn(300);
  for (int i = 0; i < 400; ++i) {
    const StepWork work = Draw(i % 4 == 0);
    model_.Observe(work, Ms(8 * TrueMs(work)));
  }
  for (int i = 0; i < 20; ++i) {
    const StepWork work = Draw(i % 2 == 0);
    EXPECT_NEAR(ToMilliseconds(model_.Predict(work)) / (8 * TrueMs(work)), 1, 0.3);
  }
}

TEST_F(CostModelTest, WhatWasNeverSeenIsTakenForDearRatherThanCheap) {
  for (int i = 0; i < 50; ++i) model_.Observe(WorkOf(500 + i, 1), Ms(TrueMs(WorkOf(500 + i, 1))));
  EXPECT_GE(ToMilliseconds(model_.Predict(WorkOf(500, 16))), TrueMs(WorkOf(500, 16)));
}

TEST_F(CostModelTest, MoreWorkNeverTakesLess) {
  for (int i = 0; i < 300; ++i) {
    const StepWork work = Draw(random_() % 3 == 0);
    model_.Observe(work, Ms(static_cast<double>(1 + random_() % 50)));  // no sense in it at all
    const StepWork some = Draw(true);
    EXPECT_LE(model_.Predict(some), model_.Predict(some + Draw(false)));
    EXPECT_GE(model_.Predict(some), Duration::zero());
  }
}

TEST_F(CostModelTest, NoiseOfAMillionStepsDoesNotAddUp) {
  for (int i = 0; i < 20; ++i) {
    const StepWork work = Draw(/*chunk=*/true);
    model_.Observe(work, Ms(TrueMs(work)));
  }
  for (int i = 0; i < 1'000'000; ++i) {
    const StepWork work = Draw(/*chunk=*/false);
    const double noise = 1 + 2 * (Noise() - 1);  // within 10 %
    model_.Observe(work, Ms(TrueMs(work) * (random_() % 20 == 0 ? 3 : noise)));
  }
  ExpectWithin(0.4, Draw(/*chunk=*/false));
  ExpectWithin(0.7, WorkOf(500, 256));
}

TEST_F(CostModelTest, IsAFunctionOfWhatWasObserved) {
  Learn(100);
  const StepCostModel first = model_;
  model_ = StepCostModel();
  random_.seed(7);
  Learn(100);
  EXPECT_EQ(first.Predict(WorkOf(77, 33)), model_.Predict(WorkOf(77, 33)));
}

}  // namespace
}  // namespace tandem
