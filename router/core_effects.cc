// CoreTurns: what is done in a turn.
#include <utility>

#include "common/base/clock.h"
#include "common/telemetry/log.h"
#include "router/core_turns.h"

namespace tandem {

void CoreTurns::HandleQueued() {
  std::vector<Event> events = inbox_.PopAll(Instant());
  const Instant now = SystemClock().Now();
  for (Event& event : events) Handle(event, now);
  if (core_.NextDeadline() <= now) Tick(now);
  CarryOut();
  while (!refused_.empty()) {
    for (auto& [worker, refused] : std::exchange(refused_, {})) {
      core_.OnMessage(worker, refused, now);
    }
    CarryOut();
  }
  Publish();
}

// After the events: a worker whose message waited here was not silent. Nor was one whose messages
// wait for their session to be read on. A tick comes with every heartbeat at the latest, so a
// worker that is listened to again has most of the silence limit ahead of it.
void CoreTurns::Tick(Instant now) {
  for (uint32_t worker = 0; worker < outgoing_.size(); ++worker) {
    if (!sessions_->listening(worker)) core_.NotListening(WorkerIndex(worker), now);
  }
  core_.Tick(now);
}

void CoreTurns::Handle(Event& event, Instant now) {
  if (auto* e = std::get_if<Submission>(&event)) {
    routes_.emplace(e->event.request, std::move(e->route));
    core_.Submit(std::move(e->event), now);
  } else if (auto* e = std::get_if<Gone>(&event)) {
    core_.ClientGone(e->request, now);
  } else if (auto* e = std::get_if<Matched>(&event)) {
    core_.StopMatched(e->request, now);
  } else if (std::holds_alternative<Ending>(event)) {
    core_.EndAll(now);
  } else if (auto* e = std::get_if<Up>(&event)) {
    core_.WorkerUp(e->worker, e->hello, now);
  } else if (auto* e = std::get_if<Down>(&event)) {
    core_.WorkerDown(e->worker, e->end, e->reason, now);
  } else if (auto* e = std::get_if<Messages>(&event)) {
    for (const WorkerToRouter& message : e->messages) core_.OnMessage(e->worker, message, now);
    credits_.push_back(std::move(e->credit));
  }
}

void CoreTurns::CarryOut() {
  // One call for all that goes to a worker; the order within a worker is kept.
  core_.TakeEffects(&effects_);
  for (RouterEffect& effect : effects_) {
    if (auto* e = std::get_if<SendToWorker>(&effect)) {
      outgoing_[e->worker.value()].push_back(std::move(e->message));
    } else if (auto* e = std::get_if<EmitTokens>(&effect)) {
      auto it = routes_.find(e->request);
      if (it != routes_.end()) streams_->OnTokens(it->second, std::move(*e));
    } else if (auto* e = std::get_if<EndStream>(&effect)) {
      auto it = routes_.find(e->request);
      if (it == routes_.end()) continue;
      const std::shared_ptr<StreamRoute> route = std::move(it->second);
      routes_.erase(it);
      streams_->OnEnd(route, std::move(*e));
    } else if (auto* e = std::get_if<CloseSession>(&effect)) {
      outgoing_[e->worker.value()].clear();
      sessions_->EndSession(e->worker.value(), absl::FailedPreconditionError(e->reason));
    } else if (auto* e = std::get_if<LogFact>(&effect)) {
      if (e->trace_id.empty()) {
        Log(Level::kInfo, e->text);
      } else {
        Log(Level::kWarn, e->text, {{"request", e->trace_id}});
      }
    }
  }
  effects_.clear();
  streams_->OnTurnDone(std::exchange(credits_, {}));
  for (uint32_t worker = 0; worker < outgoing_.size(); ++worker) {
    if (!outgoing_[worker].empty()) Send(worker, std::exchange(outgoing_[worker], {}));
  }
}

// New requests do not add to what a worker is slow to read; what belongs to earlier ones does.
void CoreTurns::RefuseNew(uint32_t worker, std::vector<RouterToWorker>* messages) {
  std::erase_if(*messages, [&](const RouterToWorker& message) {
    const auto* m = std::get_if<Generate>(&message);
    if (m == nullptr) return false;
    refused_.push_back(
        {WorkerIndex(worker),
         Refused{m->request, m->epoch, RefuseReason::kNoCapacity, "it is slow to read"}});
    return true;
  });
}

// A message that the session refuses must cost its own request and no other: then they go one by
// one.
void CoreTurns::Send(uint32_t worker, std::vector<RouterToWorker> messages) {
  if (sessions_->backlogged(worker)) RefuseNew(worker, &messages);
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

void CoreTurns::Publish() {
  ready_.store(core_.HasReadyWorker(WorkerRole::kDecode), std::memory_order_relaxed);
  max_model_len_.store(core_.MaxModelLen(), std::memory_order_relaxed);
  on_stats_(core_.stats());
}

}  // namespace tandem
