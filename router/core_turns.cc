#include "router/core_turns.h"

#include <utility>

#include "common/base/clock.h"
#include "common/telemetry/log.h"

namespace tandem {
namespace {

// With everything that waits in it; beyond it new requests are refused.
constexpr size_t kInboxCapacity = 1 << 14;

}  // namespace

CoreTurns::CoreTurns(const RouterCoreOptions& options, std::function<uint64_t()> random_bits,
                     StreamSink* streams, std::function<void(const RouterStats&)> on_stats)
    : streams_(streams),
      on_stats_(std::move(on_stats)),
      inbox_(kInboxCapacity),
      core_(options, std::move(random_bits)),
      outgoing_(options.num_workers) {}

void CoreTurns::Start(SessionClient* sessions) {
  sessions_ = sessions;
  thread_.emplace("router-core", [this] { Run(); });
}

void CoreTurns::Stop() {
  inbox_.Close();
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
  }
  wake_.NotifyAll();
  if (thread_.has_value()) thread_->Join();
}

bool CoreTurns::Submit(SubmitEvent event, std::shared_ptr<StreamRoute> route) {
  if (!inbox_.TryPush(Submission{std::move(event), std::move(route)})) return false;
  submitted_ = true;
  return true;
}

void CoreTurns::HandleSubmitted() {
  if (submitted_.exchange(false)) TakeTurn(/*own_thread=*/false);
}

void CoreTurns::ClientGone(RequestId request) {
  inbox_.PushReserved(Gone{request});
  TakeTurn(/*own_thread=*/false);
}

void CoreTurns::StopMatched(RequestId request) {
  inbox_.PushReserved(Matched{request});
  TakeTurn(/*own_thread=*/false);
}

void CoreTurns::EndAll() {
  inbox_.PushReserved(Ending{});
  TakeTurn(/*own_thread=*/false);
}

void CoreTurns::OnUp(size_t worker, const WorkerHello& hello) {
  inbox_.PushReserved(Up{WorkerIndex(static_cast<uint32_t>(worker)), hello});
  TakeTurn(/*own_thread=*/false);
}

void CoreTurns::OnMessages(size_t worker, std::vector<WorkerToRouter> messages, ReadCredit credit) {
  inbox_.PushReserved(
      Messages{WorkerIndex(static_cast<uint32_t>(worker)), std::move(messages), std::move(credit)});
  TakeTurn(/*own_thread=*/false);
}

void CoreTurns::OnDown(size_t worker, const absl::Status& reason) {
  const SessionEnd end = absl::IsAborted(reason) ? SessionEnd::kCutOff : SessionEnd::kWorkerLost;
  inbox_.PushReserved(
      Down{WorkerIndex(static_cast<uint32_t>(worker)), end, std::string(reason.message())});
  TakeTurn(/*own_thread=*/false);
}

// ---- turns ----

void CoreTurns::TakeTurn(bool own_thread) {
  if (announced_.fetch_add(1) == 0) UseTurn(own_thread);
}

// REQUIRES: this thread has the turn.
void CoreTurns::UseTurn(bool own_thread) {
  while (true) {
    const uint64_t seen = announced_.load();
    HandleQueued();
    SetDeadline(core_.NextDeadline());
    if (announced_.fetch_sub(seen) == seen) return;
    if (!own_thread) return HandOver();
  }
}

void CoreTurns::HandOver() {
  MutexLock lock(&mutex_);
  handed_over_ = true;
  wake_.NotifyOne();
}

// Wakes the thread if it would sleep too long.
void CoreTurns::SetDeadline(Instant deadline) {
  deadline_ = deadline;
  if (deadline >= sleeps_until_.load()) return;
  MutexLock lock(&mutex_);
  wake_.NotifyOne();
}

void CoreTurns::Run() {
  UseTurn(/*own_thread=*/true);  // Start's
  while (true) {
    bool has_turn;
    {
      MutexLock lock(&mutex_);
      const Instant until = deadline_;
      sleeps_until_ = until;
      wake_.WaitUntil(&mutex_, until, [this, until]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
        return handed_over_ || stopping_ || deadline_.load() < until;
      });
      sleeps_until_ = Instant::min();
      if (stopping_) return;
      has_turn = std::exchange(handed_over_, false);
    }
    if (has_turn) {
      UseTurn(/*own_thread=*/true);
    } else if (deadline_.load() <= SystemClock().Now()) {
      TakeTurn(/*own_thread=*/true);
    }
  }
}

}  // namespace tandem
