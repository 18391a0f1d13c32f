// The shell of a worker between a core of the test's own and real sessions.
#include "common/worker/worker_shell.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/bounded_queue.h"
#include "common/rpc/session_client.h"
#include "common/transfer/loopback/loopback_transport.h"
#include "tests/common/rpc/message_samples.h"
#include "tests/common/rpc/recording_sinks.h"

namespace tandem {
namespace {

using ::testing::IsEmpty;

constexpr RequestId kFlood(1);               // asks for some long frames of each step
constexpr RequestId kTrickle(2);             // asks for a short one
constexpr uint32_t kFloodFramesPerStep = 8;  // as if so many streams ran

// Once as many requests have come as it waits for, does steps as fast as the shell lets it.
class FloodCore final : public WorkerCore {
 public:
  FloodCore(size_t requests, uint32_t steps) : requests_(requests), steps_(steps) {}

  void Handle(WorkerEvent event, Instant, WorkerEffects* effects) override {
    if (const auto* m = std::get_if<SessionMessages>(&event)) OnMessages(*m, effects);
    const auto* runner = std::get_if<RunnerEvent>(&event);
    if (runner == nullptr || !std::holds_alternative<StepDone>(*runner)) return;
    for (const auto& [request, session] : streams_) {
      const uint32_t frames = request == kFlood ? kFloodFramesPerStep : 1;
      for (uint32_t i = 0; i < frames; ++i) {
        TokenFrame frame{.request = request, .epoch = 1, .first_index = done_ * frames + i};
        // Few of the long ones fill what is between the two ends.
        frame.tokens.assign(request == kFlood ? 4000 : 1, 49000);
        effects->sends.push_back({session, std::move(frame)});
      }
    }
    ++done_;
    Plan(effects);
  }
  void Advance(Instant, Duration, WorkerEffects*) override {}
  Instant NextDeadline() const override { return kNever; }
  bool idle() const override { return done_ == steps_; }
  WorkerLoad load() const override { return {}; }

 private:
  void OnMessages(const SessionMessages& m, WorkerEffects* effects) {
    for (const RouterToWorker& message : m.messages) {
      const auto* generate = std::get_if<Generate>(&message);
      if (generate == nullptr) continue;
      streams_.push_back({generate->request, m.session});
      if (streams_.size() != requests_) continue;
      Plan(effects);
      Plan(effects);
    }
  }

  void Plan(WorkerEffects* effects) {
    if (planned_ == steps_) return;
    StepPlan plan;
    plan.id = StepId(++planned_);
    effects->steps.push_back(std::move(plan));
  }

  const size_t requests_;
  const uint32_t steps_;
  std::vector<std::pair<RequestId, SessionId>> streams_;
  uint32_t planned_ = 0;
  uint32_t done_ = 0;
};

class InstantExecutor final : public StepExecutor {
 public:
  StepDone Execute(const StepPlan&, StepWatcher*) override { return {}; }
};

class WorkerShellTest : public ::testing::Test {
 protected:
  WorkerShellTest() {
    options_.hello = SampleWorkerHello();
    options_.hello.handshake.wire_version = kWireVersion;
    options_.server.limits.silence_limit = kTestPatience;  // few heartbeats here
    options_.drain_limit = kTestPatience;
  }
  ~WorkerShellTest() override { Stop(); }

  // With options_, until Stop.
  void StartShell(size_t requests, uint32_t steps) {
    core_ = std::make_unique<FloodCore>(requests, steps);
    auto shell =
        WorkerShell::Start(options_, core_.get(), &executor_, KvMemory(),
                           std::make_unique<LoopbackTransport>(std::make_shared<LoopbackHub>()),
                           {.on_submitted = [](const StepPlan&) {},
                            .on_step_done = [this](const StepDone&) { steps_.PushReserved(true); },
                            .on_turn = [] {},
                            .on_hold = [this] { holds_.PushReserved(true); }});
    ASSERT_TRUE(shell.ok()) << shell.status();
    shell_ = *std::move(shell);
    running_ = std::thread([this] { EXPECT_TRUE(shell_->Run()); });
  }

  void Stop() {
    if (!running_.joinable()) return;
    shell_->RequestStop();
    running_.join();
  }

  // A router that leaves two frames unhandled at most, from now on for as long as its log holds.
  std::unique_ptr<SessionClient> Ask(RequestId request, RecordingClientSink* router) {
    router->log.Hold();
    SessionLimits limits;
    limits.silence_limit = kTestPatience;
    limits.max_unhandled_frames = 2;
    auto client = SessionClient::Start({absl::StrCat("127.0.0.1:", shell_->port())},
                                       RouterHello{.router_name = "router"}, limits, router);
    EXPECT_TRUE(router->log.AwaitOpened(1));
    Generate generate = SampleGenerate();
    generate.request = request;
    EXPECT_TRUE(client->Send(0, {generate}).ok());
    return client;
  }

  static bool Await(BoundedQueue<bool>* events, size_t count) {
    const Instant give_up = SystemClock().Now() + kTestPatience;
    for (size_t seen = 0; seen < count;) {
      const size_t more = events->PopAll(give_up).size();
      if (more == 0) return false;
      seen += more;
    }
    return true;
  }

  WorkerShellOptions options_;
  BoundedQueue<bool> steps_{0};  // done
  BoundedQueue<bool> holds_{0};  // begun
  InstantExecutor executor_;
  std::unique_ptr<FloodCore> core_;
  std::unique_ptr<WorkerShell> shell_;
  std::thread running_;
};

TEST_F(WorkerShellTest, WorkerThatIsFasterThanItsRouterWaitsForItAndKeepsTheSession) {
  constexpr uint32_t kFrames = 3000;
  options_.server.limits.max_queued_messages = 400;
  ASSERT_NO_FATAL_FAILURE(StartShell(1, kFrames / kFloodFramesPerStep));
  RecordingClientSink router;
  const auto client = Ask(kFlood, &router);
  EXPECT_TRUE(Await(&holds_, 1));
  EXPECT_LE(router.log.batches(), 2);
  router.log.LetGo();
  EXPECT_TRUE(router.log.AwaitReceived(kFrames));
  EXPECT_THAT(router.log.closed(), IsEmpty());
  uint32_t next = 0;
  for (const WorkerToRouter& message : router.log.received()) {
    const auto* frame = std::get_if<TokenFrame>(&message);
    EXPECT_EQ(next, frame != nullptr ? frame->first_index : kFrames);
    ++next;
  }
}

TEST_F(WorkerShellTest, RouterThatReadsALittleDoesNotHaltTheStreamsOfOthersForLong) {
  // At the pace of the slow one the brisk one's would take longer than the test waits.
  constexpr uint32_t kSteps = 2000;
  options_.server.limits.silence_limit = Ms(1000);
  // A backlog is 4,000 messages, and no more once 2,000 have been read: 23 frames.
  options_.server.limits.max_queued_messages = 16000;
  ASSERT_NO_FATAL_FAILURE(StartShell(2, kSteps));
  RecordingClientSink slow, brisk;
  const auto slow_client = Ask(kFlood, &slow);
  const auto brisk_client = Ask(kTrickle, &brisk);
  brisk.log.LetGo();
  const Instant give_up = SystemClock().Now() + kTestPatience;
  while (!brisk.log.AwaitReceived(kSteps, Ms(250)) && SystemClock().Now() < give_up) {
    (void)slow_client->Send(0, {RouterHeartbeat{}});  // neither is silent
    (void)brisk_client->Send(0, {RouterHeartbeat{}});
    slow.log.LetOneGo();
  }
  EXPECT_EQ(brisk.log.received().size(), kSteps);
  EXPECT_THAT(brisk.log.closed(), IsEmpty());
  slow.log.LetGo();
  EXPECT_TRUE(slow.log.AwaitClosed(1));
  EXPECT_GT(slow.log.batches(), 2);
}

TEST_F(WorkerShellTest, WhatARouterHasStillToReadIsWrittenBeforeTheWorkerStops) {
  constexpr uint32_t kSteps = 375;
  ASSERT_NO_FATAL_FAILURE(StartShell(1, kSteps));
  RecordingClientSink router;
  const auto client = Ask(kFlood, &router);
  EXPECT_TRUE(Await(&steps_, kSteps));
  shell_->RequestStop();
  router.log.LetGo();
  EXPECT_TRUE(router.log.AwaitReceived(kSteps * kFloodFramesPerStep));
  EXPECT_TRUE(router.log.AwaitClosed(1));
  running_.join();
}

TEST_F(WorkerShellTest, RouterThatReadsNothingHoldsUpTheEndForTheDrainLimit) {
  constexpr uint32_t kSteps = 375;
  options_.drain_limit = Ms(200);
  options_.server.limits.shutdown_limit = Ms(200);
  ASSERT_NO_FATAL_FAILURE(StartShell(1, kSteps));
  RecordingClientSink router;
  const auto client = Ask(kFlood, &router);
  EXPECT_TRUE(Await(&steps_, kSteps));
  const Instant began = SystemClock().Now();
  Stop();
  EXPECT_GE(SystemClock().Now() - began, options_.drain_limit);
  EXPECT_LT(router.log.received().size(), kSteps * kFloodFramesPerStep);
}

}  // namespace
}  // namespace tandem
