#include "router/core_thread.h"

#include <utility>

#include "common/base/clock.h"
#include "common/telemetry/log.h"

namespace tandem {
namespace {

// Batches of worker messages and new requests. A batch is one engine step of one worker, so this is
// minutes of a stuck core thread.
constexpr size_t kInboxCapacity = 1 << 14;

}  // namespace

CoreThread::CoreThread(const RouterCoreOptions& options, std::function<uint64_t()> random_bits,
                       std::function<void(const RouterStats&)> on_stats)
    : on_stats_(std::move(on_stats)),
      inbox_(kInboxCapacity),
      core_(options, std::move(random_bits)) {}

void CoreThread::Start(SessionClient* sessions) {
  sessions_ = sessions;
  thread_.emplace("router-core", [this] { Run(); });
}

void CoreThread::Stop() {
  inbox_.Close();
  if (thread_.has_value()) thread_->Join();
}

bool CoreThread::Submit(SubmitEvent event, std::shared_ptr<StreamListener> listener) {
  return inbox_.TryPush(Submission{std::move(event), std::move(listener)});
}
void CoreThread::ClientGone(RequestId request) { inbox_.PushReserved(Gone{request}); }
void CoreThread::StopMatched(RequestId request) { inbox_.PushReserved(Matched{request}); }

void CoreThread::OnUp(size_t worker, const WorkerHello& hello) {
  inbox_.PushReserved(Up{WorkerIndex(static_cast<uint32_t>(worker)), hello});
}
bool CoreThread::OnMessages(size_t worker, std::vector<WorkerToRouter> messages) {
  return inbox_.TryPush(Messages{WorkerIndex(static_cast<uint32_t>(worker)), std::move(messages)});
}
void CoreThread::OnDown(size_t worker, const absl::Status& reason) {
  inbox_.PushReserved(
      Down{WorkerIndex(static_cast<uint32_t>(worker)), std::string(reason.message())});
}

void CoreThread::Run() {
  while (!inbox_.closed()) {
    std::vector<Event> events = inbox_.PopAll(core_.NextDeadline());
    const Instant now = SystemClock().Now();
    for (Event& event : events) Handle(event, now);
    // After the events: a worker whose message waited here was not silent.
    if (core_.NextDeadline() <= now) core_.Tick(now);
    CarryOut();
    for (auto& [worker, refused] : std::exchange(refused_, {})) {
      core_.OnMessage(worker, refused, now);
    }
    CarryOut();
    Publish();
  }
}

void CoreThread::Handle(Event& event, Instant now) {
  if (auto* e = std::get_if<Submission>(&event)) {
    listeners_.emplace(e->event.request, std::move(e->listener));
    core_.Submit(std::move(e->event), now);
  } else if (auto* e = std::get_if<Gone>(&event)) {
    core_.ClientGone(e->request, now);
  } else if (auto* e = std::get_if<Matched>(&event)) {
    core_.StopMatched(e->request, now);
  } else if (auto* e = std::get_if<Up>(&event)) {
    core_.WorkerUp(e->worker, e->hello, now);
  } else if (auto* e = std::get_if<Down>(&event)) {
    core_.WorkerDown(e->worker, e->reason, now);
  } else if (auto* e = std::get_if<Messages>(&event)) {
    for (const WorkerToRouter& message : e->messages) core_.OnMessage(e->worker, message, now);
  }
}

void CoreThread::CarryOut() {
  // One call for all that goes to a worker; the order within a worker is kept.
  absl::flat_hash_map<uint32_t, std::vector<RouterToWorker>> outgoing;
  for (RouterEffect& effect : core_.TakeEffects()) {
    if (auto* e = std::get_if<SendToWorker>(&effect)) {
      outgoing[e->worker.value()].push_back(std::move(e->message));
    } else if (auto* e = std::get_if<EmitTokens>(&effect)) {
      auto it = listeners_.find(e->request);
      if (it != listeners_.end()) it->second->OnTokens(std::move(*e));
    } else if (auto* e = std::get_if<EndStream>(&effect)) {
      auto it = listeners_.find(e->request);
      if (it == listeners_.end()) continue;
      const std::shared_ptr<StreamListener> listener = std::move(it->second);
      listeners_.erase(it);
      listener->OnEnd(std::move(*e));
    } else if (auto* e = std::get_if<CloseSession>(&effect)) {
      outgoing.erase(e->worker.value());
      sessions_->EndSession(e->worker.value(), absl::FailedPreconditionError(e->reason));
    } else if (auto* e = std::get_if<LogFact>(&effect)) {
      if (e->trace_id.empty()) {
        Log(Level::kInfo, e->text);
      } else {
        Log(Level::kWarn, e->text, {{"request", e->trace_id}});
      }
    }
  }
  for (auto& [worker, messages] : outgoing) Send(worker, std::move(messages));
}

// A message that the session refuses must cost its own request and no other: then they go one by
// one.
void CoreThread::Send(uint32_t worker, std::vector<RouterToWorker> messages) {
  const absl::Status status = sessions_->Send(worker, messages);
  // Otherwise the session is down or has been ended: its OnDown says what that means.
  if (!absl::IsInvalidArgument(status)) return;
  for (const RouterToWorker& message : messages) {
    const absl::Status one = sessions_->Send(worker, {message});
    if (!absl::IsInvalidArgument(one)) continue;
    Log(Level::kError, "message refused by the session",
        {{"worker", worker}, {"reason", std::string(one.message())}});
    if (const auto* m = std::get_if<Generate>(&message)) {
      refused_.push_back({WorkerIndex(worker), Refused{m->request, m->epoch, RefuseReason::kInvalid,
                                                       std::string(one.message())}});
    }
  }
}

void CoreThread::Publish() {
  ready_.store(core_.HasReadyWorker(WorkerRole::kDecode), std::memory_order_relaxed);
  max_model_len_.store(core_.MaxModelLen(), std::memory_order_relaxed);
  on_stats_(core_.stats());
}

}  // namespace tandem
