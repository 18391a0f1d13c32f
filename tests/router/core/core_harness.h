// CoreHarness drives a RouterCore by hand: fake workers are only what the test says they sent.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "common/base/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "router/core/router_core.h"

namespace tandem {

using namespace std::chrono_literals;

class CoreHarness {
 public:
  explicit CoreHarness(RouterCoreOptions options = DefaultOptions())
      : core(std::move(options), [this] { return ++random_; }) {}

  static RouterCoreOptions DefaultOptions() {
    RouterCoreOptions options;
    options.num_workers = 8;
    options.max_queued = 2;
    return options;
  }

  static WorkerHello Hello(WorkerRole role, uint64_t incarnation) {
    WorkerHello hello;
    hello.role = role;
    hello.handshake.incarnation = Incarnation(incarnation);
    hello.handshake.kv.model_fingerprint = "model";
    hello.handshake.kv.numeric_profile = "profile";
    hello.worker_name = std::string(WorkerRoleName(role)) + "-" + std::to_string(incarnation);
    hello.transfer_address = "address-" + std::to_string(incarnation);
    hello.max_model_len = 2048;
    hello.num_blocks = 1000;
    hello.max_sequences = 64;
    return hello;
  }

  void Up(uint32_t worker, WorkerRole role, uint64_t incarnation) {
    core.WorkerUp(WorkerIndex(worker), Hello(role, incarnation), clock.Now());
    Collect();
  }
  void Down(uint32_t worker, SessionEnd end = SessionEnd::kWorkerLost) {
    core.WorkerDown(WorkerIndex(worker), end, "killed", clock.Now());
    Collect();
  }
  void Receive(uint32_t worker, WorkerToRouter message) {
    core.OnMessage(WorkerIndex(worker), message, clock.Now());
    Collect();
  }

  static SubmitEvent Request(uint64_t id, uint32_t prompt_tokens, uint32_t max_tokens = 8) {
    SubmitEvent event;
    event.request = RequestId(id);
    event.trace_id = "trace-" + std::to_string(id);
    for (uint32_t i = 0; i < prompt_tokens; ++i) event.prompt.push_back(static_cast<TokenId>(i));
    event.sampling.max_tokens = max_tokens;
    event.sampling.seed = 7;
    return event;
  }
  void Submit(SubmitEvent event) {
    if (event.deadline == kNever) event.deadline = clock.Now() + 600s;
    core.Submit(std::move(event), clock.Now());
    Collect();
  }
  void Submit(uint64_t id, uint32_t prompt_tokens, uint32_t max_tokens = 8) {
    Submit(Request(id, prompt_tokens, max_tokens));
  }
  void ClientGone(uint64_t id) {
    core.ClientGone(RequestId(id), clock.Now());
    Collect();
  }
  void StopMatched(uint64_t id) {
    core.StopMatched(RequestId(id), clock.Now());
    Collect();
  }
  void EndAll() {
    core.EndAll(clock.Now());
    Collect();
  }
  // Lets time pass; workers named in `alive` send a heartbeat just before each tick.
  void Advance(Duration d, std::vector<uint32_t> alive = {0, 1, 2, 3, 4, 5, 6, 7}) {
    const Instant end = clock.Now() + d;
    while (clock.Now() < end) {
      clock.Advance(std::min<Duration>(50ms, end - clock.Now()));
      for (uint32_t w : alive)
        core.OnMessage(WorkerIndex(w), WorkerHeartbeat{.load = load}, clock.Now());
      core.Tick(clock.Now());
    }
    Collect();
  }

  static TokenFrame Frame(uint64_t id, uint32_t epoch, uint32_t first,
                          std::vector<TokenId> tokens) {
    TokenFrame frame;
    frame.request = RequestId(id);
    frame.epoch = epoch;
    frame.first_index = first;
    frame.tokens = std::move(tokens);
    return frame;
  }
  static TokenFrame Last(uint64_t id, uint32_t epoch, uint32_t first, std::vector<TokenId> tokens,
                         FinishReason reason = FinishReason::kStop) {
    TokenFrame frame = Frame(id, epoch, first, std::move(tokens));
    frame.finish = Finish{.reason = reason, .stop_token = {}, .error = "broken", .timings = {}};
    return frame;
  }

  // The messages of type M sent to `worker` since the last call for that worker and type.
  template <class M>
  std::vector<M> Sent(uint32_t worker) {
    std::vector<M> messages;
    std::erase_if(sent, [&](const SendToWorker& s) {
      if (s.worker.value() != worker || !std::holds_alternative<M>(s.message)) return false;
      messages.push_back(std::get<M>(s.message));
      return true;
    });
    return messages;
  }
  template <class M>
  M SentOne(uint32_t worker) {
    std::vector<M> messages = Sent<M>(worker);
    EXPECT_EQ(messages.size(), 1u);
    return messages.empty() ? M{} : messages[0];
  }

  // Every effect so far, sorted.
  std::vector<SendToWorker> sent;
  std::vector<EmitTokens> emitted;
  std::vector<EndStream> ended;
  std::vector<CloseSession> closed;

  std::vector<TokenId> EmittedTokens() const {
    std::vector<TokenId> tokens;
    for (const EmitTokens& e : emitted)
      tokens.insert(tokens.end(), e.tokens.begin(), e.tokens.end());
    return tokens;
  }

  WorkerLoad load{.total_blocks = 1000, .free_blocks = 1000};
  FakeClock clock;

 private:
  uint64_t random_ = 0;

 public:
  RouterCore core;

 private:
  void Collect() {
    for (RouterEffect& effect : core.TakeEffects()) {
      if (auto* e = std::get_if<SendToWorker>(&effect)) sent.push_back(std::move(*e));
      if (auto* e = std::get_if<EmitTokens>(&effect)) emitted.push_back(std::move(*e));
      if (auto* e = std::get_if<EndStream>(&effect)) ended.push_back(std::move(*e));
      if (auto* e = std::get_if<CloseSession>(&effect)) closed.push_back(std::move(*e));
    }
  }
};

}  // namespace tandem
