// What a request costs without a router: Generate goes straight down a session to a decode worker,
// the next one when the last has finished. What the router adds is measured against this. Prints
// one JSON line; times in microseconds.
//
// usage: session_probe WORKER_PORT SECONDS MAX_TOKENS
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/rpc/session_client.h"

namespace tandem::bench {
namespace {

class Probe : public SessionClientSink {
 public:
  Probe(Duration length, uint32_t max_tokens) : length_(length), max_tokens_(max_tokens) {}

  void Run(const std::string& address) {
    RouterHello hello;
    hello.router_name = "probe";
    auto sessions = SessionClient::Start({address}, hello, SessionLimits{}, this);
    {
      MutexLock lock(&mutex_);
      sessions_ = sessions.get();
      Begin();
      TANDEM_CHECK(changed_.WaitUntil(&mutex_, SystemClock().Now() + length_ * 2 + length_,
                                      [this]()
                                          ABSL_NO_THREAD_SAFETY_ANALYSIS { return finished_; }));
    }
    sessions->Shutdown();
  }

  void Report() {
    std::sort(whole_us_.begin(), whole_us_.end());
    std::sort(first_us_.begin(), first_us_.end());
    const auto at = [](const std::vector<double>& sorted, double share) {
      return sorted[static_cast<size_t>(share * (sorted.size() - 1))];
    };
    std::printf(
        "{\"requests\":%zu,\"first_p50_us\":%.0f,\"first_p99_us\":%.0f,\"whole_p50_us\":%.0f,"
        "\"whole_p99_us\":%.0f}\n",
        whole_us_.size(), at(first_us_, 0.5), at(first_us_, 0.99), at(whole_us_, 0.5),
        at(whole_us_, 0.99));
  }

  void OnUp(size_t, const WorkerHello&) override {
    MutexLock lock(&mutex_);
    up_ = true;
    Begin();
  }
  // On gRPC's thread, as an event loop's client would: no other thread is woken for a request.
  void OnMessages(size_t, std::vector<WorkerToRouter> messages, ReadCredit) override {
    MutexLock lock(&mutex_);
    for (const WorkerToRouter& message : messages) {
      TANDEM_CHECK_MSG(!std::holds_alternative<Refused>(message), "the worker refused");
      const auto* frame = std::get_if<TokenFrame>(&message);
      if (frame == nullptr || frame->request.value() != request_) continue;
      if (frame->first_index == 0) first_us_.push_back(SinceSent());
      if (!frame->finish.has_value()) continue;
      whole_us_.push_back(SinceSent());
      Next();
    }
  }
  void OnDown(size_t, const absl::Status&) override {}

 private:
  // Once the session is up and known here.
  void Begin() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!up_ || sessions_ == nullptr) return;
    until_ = SystemClock().Now() + length_;
    Next();
  }

  void Next() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    sent_at_ = SystemClock().Now();
    if (sent_at_ >= until_) {
      finished_ = true;
      return changed_.NotifyAll();
    }
    Generate generate;
    generate.request = RequestId(++request_);
    generate.trace_id = "probe";
    generate.epoch = 1;
    generate.prompt = {1, 2, 3, 4, 5, 6, 7, 8};
    generate.sampling.max_tokens = max_tokens_;
    generate.sampling.ignore_eos = true;
    generate.remaining = std::chrono::seconds(60);
    TANDEM_CHECK(sessions_->Send(0, {std::move(generate)}).ok());
  }

  double SinceSent() const { return ToSeconds(SystemClock().Now() - sent_at_) * 1e6; }

  const Duration length_;
  const uint32_t max_tokens_;
  Mutex mutex_;
  CondVar changed_;
  SessionClient* sessions_ ABSL_GUARDED_BY(mutex_) = nullptr;
  bool up_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  uint64_t request_ ABSL_GUARDED_BY(mutex_) = 0;
  Instant until_{}, sent_at_{};
  std::vector<double> first_us_, whole_us_;
};

}  // namespace
}  // namespace tandem::bench

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: session_probe WORKER_PORT SECONDS MAX_TOKENS\n");
    return 2;
  }
  tandem::bench::Probe probe(std::chrono::milliseconds(static_cast<int>(std::atof(argv[2]) * 1e3)),
                             static_cast<uint32_t>(std::atoi(argv[3])));
  probe.Run(absl::StrCat("127.0.0.1:", argv[1]));
  probe.Report();
}
