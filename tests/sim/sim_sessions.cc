#include "tests/sim/sim_sessions.h"

#include <algorithm>
#include <utility>

namespace tandem::sim {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

}  // namespace

SimSessions::SimSessions(SimWorld* world, std::vector<SessionWorker*> workers,
                         SessionRouter* router)
    : world_(world), workers_(std::move(workers)), router_(router), slots_(workers_.size()) {}

void SimSessions::Start() {
  for (uint32_t slot = 0; slot < slots_.size(); ++slot) {
    TryConnect(slot);
    WatchSilence(slot);
  }
}

void SimSessions::TryConnect(uint32_t slot) {
  Slot& s = slots_[slot];
  if (s.router_open) return;
  if (!workers_[slot]->Alive()) return ReconnectLater(slot);
  s.session = SessionId(++last_session_);
  s.router_open = true;
  const SessionId session = s.session;
  world_->queue.At(NextArrival(s, kToWorker), [this, slot, session] {
    if (slots_[slot].session != session) return;  // given up meanwhile
    if (!workers_[slot]->Alive()) return RouterEnd(slot, "nobody listens there", true);
    slots_[slot].at_worker[session] = world_->queue.now();
    workers_[slot]->OnSessionOpened(session);
  });
}

void SimSessions::ReconnectLater(uint32_t slot) {
  world_->queue.After(world_->random.Between(milliseconds(50), milliseconds(400)),
                      [this, slot] { TryConnect(slot); });
}

Instant SimSessions::NextArrival(Slot& slot, Direction direction) {
  const Instant now = world_->queue.now();
  const Instant arrival =
      std::max({now + world_->random.Between(microseconds(30), microseconds(500)),
                slot.arrival[direction], slot.stalled_until[direction]});
  slot.arrival[direction] = arrival;
  return arrival;
}

void SimSessions::SendToWorker(uint32_t slot, std::vector<RouterToWorker> messages) {
  Slot& s = slots_[slot];
  if (!s.router_open) return;
  world_->queue.At(NextArrival(s, kToWorker),
                   [this, slot, session = s.session, messages = std::move(messages)]() mutable {
                     auto& open = slots_[slot].at_worker;
                     if (!open.contains(session) || !workers_[slot]->Alive()) return;
                     open[session] = world_->queue.now();
                     workers_[slot]->OnSessionMessages(session, std::move(messages));
                   });
}

void SimSessions::SendToRouter(uint32_t slot, SessionId session,
                               std::vector<WorkerToRouter> messages) {
  Slot& s = slots_[slot];
  if (!s.at_worker.contains(session)) return;
  world_->queue.At(NextArrival(s, kToRouter),
                   [this, slot, session, messages = std::move(messages)]() mutable {
                     const Slot& from = slots_[slot];
                     if (!from.router_open || from.session != session) return;
                     router_->OnWorkerMessages(slot, std::move(messages));
                   });
}

void SimSessions::EndByRouter(uint32_t slot, absl::string_view reason) {
  RouterEnd(slot, reason, /*tell_core=*/true);
}

void SimSessions::RouterEnd(uint32_t slot, absl::string_view reason, bool tell_core) {
  Slot& s = slots_[slot];
  if (!s.router_open) return;
  s.router_open = false;
  const SessionId session = std::exchange(s.session, SessionId());
  world_->log.Note("session ", session.value(), " of worker ", slot,
                   " ends at the router: ", reason);
  // The worker hears it when the network lets it.
  world_->queue.At(
      std::max(NextArrival(s, kToWorker),
               world_->queue.now() + world_->random.Between(Duration{}, milliseconds(500))),
      [this, slot, session] { WorkerEnd(slot, session, "ended by the router"); });
  ReconnectLater(slot);
  if (tell_core) router_->OnSessionDown(slot, reason);
}

void SimSessions::WorkerEnd(uint32_t slot, SessionId session, absl::string_view reason) {
  if (slots_[slot].at_worker.erase(session) == 0) return;
  if (workers_[slot]->Alive()) workers_[slot]->OnSessionClosed(session, std::string(reason));
  world_->queue.After(world_->random.Between(Duration{}, milliseconds(800)),
                      [this, slot, session, why = std::string(reason)] {
                        if (slots_[slot].session == session) RouterEnd(slot, why, true);
                      });
}

void SimSessions::WorkerDied(uint32_t slot) {
  while (!slots_[slot].at_worker.empty()) {
    WorkerEnd(slot, slots_[slot].at_worker.begin()->first, "the worker died");
  }
}

void SimSessions::Cut(uint32_t slot) {
  Slot& s = slots_[slot];
  if (!s.router_open) return;
  if (world_->random.Chance(0.5)) {
    RouterEnd(slot, "cut", true);
  } else {
    WorkerEnd(slot, s.session, "cut");
  }
}

void SimSessions::Stall(uint32_t slot, Direction direction, Instant until) {
  Instant& stalled = slots_[slot].stalled_until[direction];
  stalled = std::max(stalled, until);
}

// The timers of a worker's shell.
void SimSessions::WatchSilence(uint32_t slot) {
  const Instant now = world_->queue.now();
  std::vector<SessionId> silent;
  for (const auto& [session, heard] : slots_[slot].at_worker) {
    if (now - heard >= kSessionSilenceLimit) silent.push_back(session);
  }
  if (workers_[slot]->Alive() && !workers_[slot]->Paused()) {
    for (const SessionId session : silent) WorkerEnd(slot, session, "the router is silent");
  }
  world_->queue.After(milliseconds(500), [this, slot] { WatchSilence(slot); });
}

}  // namespace tandem::sim
