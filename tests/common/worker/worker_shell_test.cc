// The shell of a worker between a core of the test's own and a real session.
#include "common/worker/worker_shell.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/rpc/session_client.h"
#include "common/transfer/loopback/loopback_transport.h"
#include "tests/common/rpc/message_samples.h"
#include "tests/common/rpc/recording_sinks.h"

namespace tandem {
namespace {

using ::testing::IsEmpty;

constexpr uint32_t kFrames = 3000;      // of the whole flood
constexpr uint32_t kFramesPerStep = 8;  // as if so many streams ran

// Does steps as fast as the shell lets it, from the first message on; each step is some frames of
// tokens.
class FloodCore final : public WorkerCore {
 public:
  void Handle(WorkerEvent event, Instant, WorkerEffects* effects) override {
    if (const auto* m = std::get_if<SessionMessages>(&event)) {
      session_ = m->session;
      Plan(effects);
      Plan(effects);
    }
    const auto* runner = std::get_if<RunnerEvent>(&event);
    if (runner == nullptr || !std::holds_alternative<StepDone>(*runner)) return;
    for (uint32_t i = 0; i < kFramesPerStep && sent_ < kFrames; ++i) {
      TokenFrame frame{.request = RequestId(1), .epoch = 1, .first_index = sent_++};
      frame.tokens.assign(4000, 49000);  // few fill what is between the two ends
      effects->sends.push_back({session_, std::move(frame)});
    }
    if (sent_ < kFrames) Plan(effects);
  }
  void Advance(Instant, Duration, WorkerEffects*) override {}
  Instant NextDeadline() const override { return kNever; }
  bool idle() const override { return true; }
  WorkerLoad load() const override { return {}; }

 private:
  void Plan(WorkerEffects* effects) {
    StepPlan plan;
    plan.id = StepId(++steps_);
    effects->steps.push_back(std::move(plan));
  }

  SessionId session_;
  uint32_t sent_ = 0;
  uint64_t steps_ = 0;
};

class InstantExecutor final : public StepExecutor {
 public:
  StepDone Execute(const StepPlan&, StepWatcher*) override { return {}; }
};

TEST(WorkerShellTest, WorkerThatIsFasterThanItsRouterWaitsForItAndKeepsTheSession) {
  FloodCore core;
  InstantExecutor executor;
  WorkerShellOptions options;
  options.hello = SampleWorkerHello();
  options.hello.handshake.wire_version = kWireVersion;
  options.server.limits.silence_limit = kTestPatience;  // no heartbeats here
  options.server.limits.max_queued_messages = 400;
  auto shell =
      WorkerShell::Start(options, &core, &executor, KvMemory(),
                         std::make_unique<LoopbackTransport>(std::make_shared<LoopbackHub>()),
                         {.on_submitted = [](const StepPlan&) {},
                          .on_step_done = [](const StepDone&) {},
                          .on_turn = [] {}});
  ASSERT_TRUE(shell.ok()) << shell.status();
  std::thread running([&] { EXPECT_TRUE((*shell)->Run()); });

  SessionLimits limits;
  limits.silence_limit = kTestPatience;
  limits.max_unhandled_frames = 2;
  RecordingClientSink router;
  auto client = SessionClient::Start({absl::StrCat("127.0.0.1:", (*shell)->port())},
                                     RouterHello{.router_name = "router"}, limits, &router);
  EXPECT_TRUE(router.log.AwaitOpened(1));
  router.log.Hold();
  EXPECT_TRUE(client->Send(0, {RouterHeartbeat{}}).ok());
  EXPECT_TRUE(router.log.AwaitReceived(1));
  // With what is on the way the worker is far ahead; nothing tells when it has come to a halt.
  EXPECT_FALSE(router.log.AwaitClosed(1, std::chrono::seconds(1)));
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
  client.reset();
  (*shell)->RequestStop();
  running.join();
}

}  // namespace
}  // namespace tandem
