// FakeWorkers stands in for the sessions and the workers behind them: decode workers that answer at
// once, on the thread that sends. What they do with a request is a script.
#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "common/base/mutex.h"
#include "common/rpc/session_client.h"

namespace tandem {

enum class Script {
  kEcho,    // book, then repeat the prompt's last token until max_tokens
  kSilent,  // book, then one token and no end
  kFull,    // refuse for want of capacity
};

class FakeWorkers : public SessionClient {
 public:
  // One decode worker, which is up at once.
  FakeWorkers(SessionClientSink* sink, Script script) : sink_(sink), script_(script) {
    WorkerHello hello;
    hello.role = WorkerRole::kDecode;
    hello.handshake.incarnation = Incarnation(1);
    hello.worker_name = "fake";
    hello.max_model_len = 1u << 20;
    hello.num_blocks = 1u << 16;
    sink_->OnUp(0, hello);
  }

  absl::Status Send(size_t worker, std::vector<RouterToWorker> messages) override {
    std::vector<WorkerToRouter> answers;
    for (const RouterToWorker& message : messages) {
      if (const auto* m = std::get_if<Generate>(&message)) Answer(*m, &answers);
      if (std::holds_alternative<Cancel>(message)) {
        MutexLock lock(&mutex_);
        ++cancels_;
        changed_.NotifyAll();
      }
      if (std::holds_alternative<RouterHeartbeat>(message)) answers.push_back(WorkerHeartbeat{});
    }
    if (!answers.empty()) sink_->OnMessages(worker, std::move(answers), ReadCredit());
    return absl::OkStatus();
  }
  bool backlogged(size_t) const override { return false; }
  bool listening(size_t) const override { return true; }
  void EndSession(size_t worker, const absl::Status& reason) override {
    sink_->OnDown(worker, reason);
  }
  void Shutdown() override {}

  bool WaitForCancels(int count) {
    MutexLock lock(&mutex_);
    return changed_.WaitUntil(&mutex_, std::chrono::steady_clock::now() + std::chrono::seconds(10),
                              [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return cancels_ >= count; });
  }

 private:
  void Answer(const Generate& m, std::vector<WorkerToRouter>* answers) const {
    if (script_ == Script::kFull) {
      answers->push_back(Refused{m.request, m.epoch, RefuseReason::kNoCapacity, "full"});
      return;
    }
    answers->push_back(Booked{m.request, m.epoch, 0});
    TokenFrame frame;
    frame.request = m.request;
    frame.epoch = m.epoch;
    const uint32_t count = script_ == Script::kSilent ? 1 : m.sampling.max_tokens;
    for (uint32_t i = 0; i < count; ++i) {
      frame.tokens.push_back(m.prompt.back());
      if (m.sampling.top_logprobs >= 0) frame.logprobs.push_back({{m.prompt.back(), -1}, {}});
    }
    if (script_ == Script::kEcho) frame.finish = Finish{.reason = FinishReason::kLength};
    answers->push_back(std::move(frame));
  }

  SessionClientSink* const sink_;
  const Script script_;
  Mutex mutex_;
  CondVar changed_;
  int cancels_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace tandem
