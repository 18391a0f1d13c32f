// CoreTurns between sessions and a front of the test's own, with threads as in the router, but
// without gRPC and HTTP: the thread sanitizer sees all of it.
#include "router/core_turns.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/bounded_queue.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"

namespace tandem {
namespace {

constexpr uint32_t kTokens = 4;  // of each stream

WorkerHello DecodeHello(size_t worker) {
  WorkerHello hello;
  hello.role = WorkerRole::kDecode;
  hello.handshake.incarnation = Incarnation(worker + 1);
  hello.max_model_len = 1u << 20;
  hello.num_blocks = 1u << 20;
  return hello;
}

// Decode workers, each on a thread of its own, which is also its session's: what is sent goes into
// its queue, what it answers comes in frames of one message.
class ThreadedWorkers final : public SessionClient {
 public:
  explicit ThreadedWorkers(SessionClientSink* sink) : sink_(sink) {
    for (size_t i = 0; i < kWorkers; ++i) {
      threads_.emplace_back([this, i] { Run(i); });
    }
  }
  ~ThreadedWorkers() override { Shutdown(); }

  absl::Status Send(size_t worker, std::vector<RouterToWorker> messages) override {
    for (RouterToWorker& message : messages) sent_[worker].PushReserved(std::move(message));
    return absl::OkStatus();
  }
  bool backlogged(size_t) const override { return false; }
  bool listening(size_t) const override { return true; }
  // As gRPC would: the sink is told on the session's thread.
  void EndSession(size_t worker, const absl::Status&) override {
    sent_[worker].PushReserved(RouterHello{});
  }
  void Shutdown() override {
    for (auto& queue : sent_) queue.Close();
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

 private:
  static constexpr size_t kWorkers = 2;

  void Run(size_t worker) {
    sink_->OnUp(worker, DecodeHello(worker));
    uint32_t requests = 0;
    while (!sent_[worker].closed()) {
      for (const RouterToWorker& message : sent_[worker].PopAll(kNever)) {
        const auto* generate = std::get_if<Generate>(&message);
        if (generate != nullptr) Serve(worker, *generate);
        // Now and then a session breaks, with streams in it.
        const bool breaks = generate != nullptr && ++requests % 50 == 0;
        if (breaks || std::holds_alternative<RouterHello>(message)) {
          sink_->OnDown(worker, absl::UnavailableError("broke"));
          sink_->OnUp(worker, DecodeHello(worker));
        }
      }
    }
    sink_->OnDown(worker, absl::CancelledError("over"));
  }

  void Serve(size_t worker, const Generate& m) {
    Say(worker, Booked{m.request, m.epoch, 0});
    const auto begun = static_cast<uint32_t>(m.outputs.size());
    for (uint32_t i = begun; i < m.sampling.max_tokens; ++i) {
      TokenFrame frame{.request = m.request, .epoch = m.epoch, .first_index = i, .tokens = {1}};
      if (i + 1 == m.sampling.max_tokens) frame.finish = Finish{.reason = FinishReason::kLength};
      Say(worker, std::move(frame));
    }
  }

  void Say(size_t worker, WorkerToRouter message) {
    std::vector<WorkerToRouter> messages;
    messages.push_back(std::move(message));
    sink_->OnMessages(worker, std::move(messages), ReadCredit());
  }

  SessionClientSink* const sink_;
  std::array<BoundedQueue<RouterToWorker>, kWorkers> sent_ = {BoundedQueue<RouterToWorker>(0),
                                                              BoundedQueue<RouterToWorker>(0)};
  std::vector<std::thread> threads_;
};

// Counts the requests that are sent to each worker, and hears nothing of them.
class SilentSessions final : public SessionClient {
 public:
  absl::Status Send(size_t worker, std::vector<RouterToWorker> messages) override {
    for (const RouterToWorker& message : messages) {
      if (std::holds_alternative<Generate>(message)) ++generates[worker];
    }
    return absl::OkStatus();
  }
  bool backlogged(size_t worker) const override { return worker == slow_worker; }
  bool listening(size_t) const override { return true; }
  std::array<int, 2> generates{};  // of whoever has the turn
  size_t slow_worker = kNobody;
  static constexpr size_t kNobody = 99;
  void EndSession(size_t, const absl::Status&) override {}
  void Shutdown() override {}
};

// Of two workers that say nothing it listens to the first only. Remembers heartbeats and ends.
class HalfDeafSessions final : public SessionClient {
 public:
  absl::Status Send(size_t worker, std::vector<RouterToWorker> messages) override {
    Change([&] {
      for (const RouterToWorker& message : messages) {
        heartbeats_[worker] += std::holds_alternative<RouterHeartbeat>(message) ? 1 : 0;
      }
    });
    return absl::OkStatus();
  }
  bool backlogged(size_t) const override { return false; }
  bool listening(size_t worker) const override { return worker == 0; }
  void EndSession(size_t worker, const absl::Status&) override {
    Change([&] { ended_[worker] = true; });
  }
  void Shutdown() override {}

  bool AwaitEnd(size_t worker) {
    return Await([&] { return ended_[worker]; });
  }
  // As many more from now on.
  bool AwaitHeartbeats(size_t worker, int count) {
    int before = 0;
    Change([&] { before = heartbeats_[worker]; });
    return Await([&] { return heartbeats_[worker] >= before + count; });
  }
  bool ended(size_t worker) {
    MutexLock lock(&mutex_);
    return ended_[worker];
  }

 private:
  void Change(const std::function<void()>& change) {
    MutexLock lock(&mutex_);
    change();
    changed_.NotifyAll();
  }
  bool Await(const std::function<bool()>& condition) {
    MutexLock lock(&mutex_);
    return changed_.WaitUntil(&mutex_, SystemClock().Now() + std::chrono::seconds(60), condition);
  }

  Mutex mutex_;
  CondVar changed_;
  std::array<int, 2> heartbeats_{};  // sent; guarded like ended_
  std::array<bool, 2> ended_{};
};

struct Stream : StreamRoute {
  explicit Stream(RequestId id) : request(id) {}
  const RequestId request;
  uint32_t tokens = 0;  // of whoever has the turn
  bool ended = false;
};

// Has no lock around what belongs to whoever has the turn: turns that overlap are a data race.
class CountingStreams final : public StreamSink {
 public:
  void OnTokens(const std::shared_ptr<StreamRoute>& route, EmitTokens tokens) override {
    auto& stream = static_cast<Stream&>(*route);
    EXPECT_FALSE(stream.ended);
    EXPECT_EQ(tokens.first_index, stream.tokens);
    stream.tokens += static_cast<uint32_t>(tokens.tokens.size());
  }
  void OnEnd(const std::shared_ptr<StreamRoute>& route, EndStream end) override {
    auto& stream = static_cast<Stream&>(*route);
    EXPECT_FALSE(std::exchange(stream.ended, true));
    if (!end.error.has_value() && end.reason == FinishReason::kLength) {
      EXPECT_EQ(stream.tokens, kTokens);
    }
    ++ended_in_turn_;
  }
  void OnTurnDone(std::vector<ReadCredit> credits) override {
    {
      MutexLock lock(&mutex_);
      ended_ = ended_in_turn_;
      for (ReadCredit& credit : credits) held_.push_back(std::move(credit));
    }
    changed_.NotifyAll();
    if (!hold_) LetGo();
  }

  bool AwaitEnded(int count) {
    MutexLock lock(&mutex_);
    return changed_.WaitUntil(&mutex_, SystemClock().Now() + std::chrono::seconds(60),
                              [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return ended_ >= count; });
  }
  void LetGo() {
    std::vector<ReadCredit> held;
    MutexLock lock(&mutex_);
    held.swap(held_);
  }
  void Hold() { hold_ = true; }

 private:
  int ended_in_turn_ = 0;  // of whoever has the turn
  std::atomic<bool> hold_{false};
  Mutex mutex_;
  CondVar changed_;
  int ended_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<ReadCredit> held_ ABSL_GUARDED_BY(mutex_);
};

std::function<uint64_t()> Bits() {
  return [random = std::mt19937_64(7)]() mutable { return random(); };
}

SubmitEvent Request(uint64_t id) {
  SubmitEvent event;
  event.request = RequestId(id);
  event.prompt.assign(20, 3);
  event.sampling.max_tokens = kTokens;
  return event;
}

TEST(CoreTurnsTest, RequestsFromManyThreadsEndOnceEachWhileSessionsBreak) {
  constexpr int kFronts = 3;
  constexpr int kRequests = 400;  // of each
  CountingStreams streams;
  uint64_t submitted = 0;  // of whoever has the turn
  RouterCoreOptions options;
  options.num_workers = 2;
  options.max_queued = kFronts * kRequests;
  CoreTurns turns(options, Bits(), &streams,
                  [&](const RouterStats& stats) { submitted = stats.submitted; });
  ThreadedWorkers workers(&turns);
  turns.Start(&workers);
  std::vector<std::thread> fronts;
  for (int front = 0; front < kFronts; ++front) {
    fronts.emplace_back([&turns, front] {
      for (int i = 0; i < kRequests; ++i) {
        const RequestId id(1 + front * kRequests + i);
        ASSERT_TRUE(turns.Submit(Request(id.value()), std::make_shared<Stream>(id)));
        if (i % 3 != 0) turns.HandleSubmitted();
        if (i % 7 == 0) turns.ClientGone(id);
        if (i % 11 == 0) turns.StopMatched(id);
        (void)turns.ready();
        (void)turns.max_model_len();
      }
      turns.HandleSubmitted();
    });
  }
  for (std::thread& front : fronts) front.join();
  EXPECT_TRUE(streams.AwaitEnded(kFronts * kRequests));
  workers.Shutdown();
  turns.Stop();
  EXPECT_EQ(submitted, uint64_t{kFronts} * kRequests);
}

// A session whose frames nobody sends on is read as far as its credits go, and no further.
TEST(CoreTurnsTest, CreditsOfFramesComeBackWhenTheirTokensHaveBeenDelivered) {
  CountingStreams streams;
  SilentSessions sessions;
  RouterCoreOptions options;
  options.num_workers = 1;
  CoreTurns turns(options, Bits(), &streams, [](const RouterStats&) {});
  int reads = 0;
  const auto gate = std::make_shared<ReadGate>(2, [&] { ++reads; });
  const auto frame = [&] {
    turns.OnMessages(0, std::vector<WorkerToRouter>{WorkerHeartbeat{}}, gate->TakeCredit());
  };
  turns.OnUp(0, DecodeHello(0));
  frame();
  frame();
  gate->ReadOn();
  EXPECT_TRUE(gate->waits());  // no turn before Start
  streams.Hold();
  turns.Start(&sessions);
  ASSERT_TRUE(turns.Submit(Request(1), std::make_shared<Stream>(RequestId(1))));
  turns.ClientGone(RequestId(1));
  ASSERT_TRUE(streams.AwaitEnded(1));  // the frames were handled before
  EXPECT_TRUE(gate->waits());
  turns.Stop();
  streams.LetGo();
  EXPECT_FALSE(gate->waits());
  EXPECT_EQ(reads, 1);
}

TEST(CoreTurnsTest, WorkerThatIsNotListenedToIsNotSilent) {
  CountingStreams streams;
  HalfDeafSessions sessions;
  RouterCoreOptions options;
  options.num_workers = 2;
  CoreTurns turns(options, Bits(), &streams, [](const RouterStats&) {});
  turns.OnUp(0, DecodeHello(0));
  turns.OnUp(1, DecodeHello(1));
  turns.Start(&sessions);
  EXPECT_TRUE(sessions.AwaitEnd(0));  // it could have been heard
  EXPECT_TRUE(sessions.AwaitHeartbeats(1, 2));
  EXPECT_FALSE(sessions.ended(1));
  turns.Stop();
}

TEST(CoreTurnsTest, SessionThatTheWorkerCutOffEndsNoRequest) {
  CountingStreams streams;
  SilentSessions sessions;
  RouterCoreOptions options;
  options.num_workers = 1;
  CoreTurns turns(options, Bits(), &streams, [](const RouterStats&) {});
  turns.OnUp(0, DecodeHello(0));
  ASSERT_TRUE(turns.Submit(Request(1), std::make_shared<Stream>(RequestId(1))));
  for (int i = 0; i < 2; ++i) {
    turns.OnDown(0, absl::AbortedError("cut off"));
    turns.OnUp(0, DecodeHello(0));
  }
  turns.Start(&sessions);
  turns.EndAll();
  ASSERT_TRUE(streams.AwaitEnded(1));
  turns.Stop();
  EXPECT_EQ(sessions.generates[0], 3);
}

TEST(CoreTurnsTest, WorkerThatIsSlowToReadGetsNoNewRequests) {
  for (const size_t slow : {0, 1}) {
    CountingStreams streams;
    SilentSessions sessions;
    sessions.slow_worker = slow;
    RouterCoreOptions options;
    options.num_workers = 2;
    CoreTurns turns(options, Bits(), &streams, [](const RouterStats&) {});
    turns.OnUp(0, DecodeHello(0));
    turns.OnUp(1, DecodeHello(1));
    turns.Start(&sessions);
    for (uint64_t id = 1; id <= 4; ++id) {
      ASSERT_TRUE(turns.Submit(Request(id), std::make_shared<Stream>(RequestId(id))));
      turns.HandleSubmitted();
    }
    turns.EndAll();
    ASSERT_TRUE(streams.AwaitEnded(4));
    turns.Stop();
    EXPECT_EQ(sessions.generates[slow], 0);
    EXPECT_GE(sessions.generates[1 - slow], 1);  // more once it has booked the first
  }
}

}  // namespace
}  // namespace tandem
