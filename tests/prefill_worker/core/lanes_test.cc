// What a job's lane and the batching window change on a prefill worker.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/engine/admission.h"
#include "prefill_worker/core/prefill_core.h"

namespace tandem {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr SessionId kRouter{1};

// A PrefillCore in virtual time; the test plays the runner.
class PrefillLanesTest : public ::testing::Test {
 protected:
  static PrefillCoreOptions Options() {
    return {.num_layers = 1,
            .block_layer_bytes = 100,
            .chunk_tokens = 64,
            .batch_window = milliseconds(20),
            .max_running = 3,
            .max_jobs = 9,
            .max_model_len = 512};
  }

  void SetUp() override { Deliver(SessionOpened{kRouter}); }

  void Deliver(WorkerEvent event) {
    core_.Handle(std::move(event), now_, &effects_);
    core_.Advance(now_, Duration{}, &effects_);
  }
  void Advance(Duration d) {
    now_ += d;
    core_.Advance(now_, Duration{}, &effects_);
  }
  // Prompts share nothing.
  void Submit(uint64_t id, uint32_t tokens, Lane lane) {
    PrefillJob job{.request = RequestId(id),
                   .epoch = 1,
                   .attempt = 1,
                   .nonce = Nonce{3, id},
                   .decode_address = "there",
                   .decode = Incarnation(7),
                   .remaining = std::chrono::seconds(60),
                   .lane = lane};
    for (uint32_t i = 0; i < tokens; ++i) {
      job.tokens.push_back(static_cast<TokenId>(1000 * id + i));
    }
    Deliver(SessionMessages{kRouter, {std::move(job)}});
  }
  // Cancels a job that is in both steps in flight, and ends these.
  void EndJob(uint64_t id) {
    Cancel(id);
    RunStep();
    RunStep();
  }
  void Cancel(uint64_t id) { Deliver(SessionMessages{kRouter, {CancelJob{RequestId(id), 1, 1}}}); }
  // Ends the oldest step in flight and returns the jobs that were in it.
  std::vector<uint64_t> RunStep() {
    const StepPlan plan = std::move(effects_.steps.front());
    effects_.steps.erase(effects_.steps.begin());
    Deliver(RunnerEvent(LayerDone{plan.id, 0}));
    Deliver(RunnerEvent(StepDone{.step = plan.id}));
    return Jobs(plan);
  }
  static std::vector<uint64_t> Jobs(const StepPlan& plan) {
    std::vector<uint64_t> jobs;
    for (const StepSequence& sequence : plan.sequences) {
      jobs.push_back(static_cast<uint64_t>(sequence.tokens[0]) / 1000);
    }
    return jobs;
  }
  // The jobs that have started, in that order.
  std::vector<uint64_t> Offered() const {
    std::vector<uint64_t> jobs;
    for (const TransferCommand& command : effects_.transfers) {
      const auto* sent = std::get_if<SendPeerMessage>(&command);
      if (sent == nullptr) continue;
      if (const auto* offer = std::get_if<Offer>(&sent->message)) jobs.push_back(offer->nonce.low);
    }
    return jobs;
  }

  Instant now_{std::chrono::hours(1)};
  KvCache cache_{64};
  WorkerEffects effects_;
  PrefillCore core_{Options(), &cache_};
};

TEST_F(PrefillLanesTest, BulkJobsThatComeTogetherShareTheirFirstStep) {
  Submit(1, 20, Lane::kBulk);
  EXPECT_THAT(Offered(), ElementsAre(1));  // the way to its blocks need not wait
  EXPECT_THAT(effects_.steps, IsEmpty());
  EXPECT_EQ(core_.NextDeadline(), now_ + milliseconds(20));
  Advance(milliseconds(15));
  Submit(2, 20, Lane::kBulk);
  EXPECT_THAT(effects_.steps, IsEmpty());
  Advance(milliseconds(5));
  ASSERT_THAT(effects_.steps, SizeIs(1));
  EXPECT_THAT(Jobs(effects_.steps[0]), ElementsAre(1, 2));
}

TEST_F(PrefillLanesTest, InteractiveJobStartsAtOnceAndTakesWaitingOnesAlong) {
  Submit(1, 20, Lane::kBulk);
  Submit(2, 20, Lane::kInteractive);
  ASSERT_THAT(effects_.steps, SizeIs(1));
  EXPECT_THAT(Jobs(effects_.steps[0]), ElementsAre(2, 1));
}

TEST_F(PrefillLanesTest, JobThatFillsAStepDoesNotWait) {
  Submit(1, 65, Lane::kBulk);
  EXPECT_THAT(effects_.steps, SizeIs(1));
}

TEST_F(PrefillLanesTest, WhatComesDuringAStepDoesNotWait) {
  Submit(1, 65, Lane::kBulk);
  Submit(2, 20, Lane::kBulk);
  EXPECT_THAT(effects_.steps, SizeIs(2));
  RunStep();
  RunStep();
  Submit(3, 20, Lane::kBulk);  // after a pause
  EXPECT_THAT(effects_.steps, IsEmpty());
}

TEST_F(PrefillLanesTest, InteractiveJobsStepGoesBeforeTheRestOfBulkJobs) {
  Submit(1, 400, Lane::kBulk);  // two steps are in flight at once
  Submit(2, 400, Lane::kBulk);
  RunStep();
  Submit(3, 40, Lane::kInteractive);
  RunStep();
  ASSERT_THAT(effects_.steps, SizeIs(2));
  EXPECT_THAT(Jobs(effects_.steps[1]), ElementsAre(3, 1));
}

TEST_F(PrefillLanesTest, InteractiveJobsStartBeforeBulkOnesThatWaitedShorterThanTheirPatience) {
  for (const uint64_t id : {1, 2, 6, 3}) Submit(id, 300, Lane::kBulk);
  Advance(milliseconds(1));
  Submit(4, 40, Lane::kInteractive);
  EndJob(1);
  Advance(kBulkPatience - milliseconds(1));
  Submit(5, 40, Lane::kInteractive);
  EndJob(2);
  EXPECT_THAT(Offered(), ElementsAre(1, 2, 6, 4, 3));
}

}  // namespace
}  // namespace tandem
