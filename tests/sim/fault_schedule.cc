#include "tests/sim/fault_schedule.h"

#include <algorithm>
#include <utility>

namespace tandem::sim {
namespace {

using std::chrono::milliseconds;

}  // namespace

FaultProfile DrawProfile(Random* random) {
  FaultProfile profile;
  profile.calm = random->Chance(0.08);
  if (profile.calm) return profile;
  profile.network = random->Chance(0.6);
  profile.damage = random->Chance(0.5);
  profile.crashes = random->Chance(0.5);
  profile.pauses = random->Chance(0.5);
  profile.sessions = random->Chance(0.6);
  profile.clogs = random->Chance(0.4);
  profile.engines = random->Chance(0.4);
  return profile;
}

FaultSchedule::FaultSchedule(SimWorld* world, const FaultProfile& profile, SimSessions* sessions,
                             std::vector<SimWorker*> workers)
    : world_(world), profile_(profile), sessions_(sessions), workers_(std::move(workers)) {}

void FaultSchedule::Start(Duration span) {
  span_ = span;
  if (profile_.calm) return;
  Random& random = world_->random;
  DrawNetworkFaults();
  DrawEngineFaults();
  if (profile_.crashes) {
    for (uint32_t n = random.Between(1, 5); n > 0; --n) PlanCrash();
  }
  if (profile_.pauses) {
    for (uint32_t n = random.Between(1, 5); n > 0; --n) PlanPause();
  }
  if (profile_.network) {
    for (uint32_t n = random.Between(0, 6); n > 0; --n) PlanCut();
  }
  if (profile_.sessions) {
    for (uint32_t n = random.Between(1, 12); n > 0; --n) PlanSessionFault();
  }
  if (profile_.clogs) {
    for (uint32_t n = random.Between(1, 2); n > 0; --n) PlanSwizzle();
  }
}

void FaultSchedule::DrawNetworkFaults() {
  Random& random = world_->random;
  NetworkFaults& faults = world_->network.faults;
  const auto some = [&random](double most) {
    return random.Chance(0.6) ? most * random.Between(1, 100) / 100 : 0.0;
  };
  faults.late_write = random.Between(milliseconds(1), milliseconds(3000));
  if (profile_.network) {
    faults.drop_control = some(0.05);
    faults.drop_segment = some(0.03);
    faults.hang_segment = some(0.05);
    faults.slow = some(0.3);
    faults.slowness = random.Between(milliseconds(1), milliseconds(400));
    faults.lost_notice = some(0.4);
    faults.replay = some(0.2);
    faults.replay_as_other = some(0.5);
  }
  if (profile_.damage) {
    faults.damage_payload = some(0.05);
    faults.damage_header = some(0.05);
    faults.misaddress = some(0.05);
    faults.truncate_segment = some(0.03);
    faults.truncate_control = some(0.01);
    faults.damage_control = some(0.05);
  }
}

void FaultSchedule::DrawEngineFaults() {
  if (!profile_.engines) return;
  Random& random = world_->random;
  world_->engine_faults = {.fail = random.Chance(0.5) ? 0.01 : 0.0,
                           .unsampled = random.Chance(0.5) ? 0.002 : 0.0,
                           .slow = random.Chance(0.7) ? 0.02 : 0.0,
                           .slowness = random.Between(milliseconds(10), milliseconds(4000))};
}

void FaultSchedule::At(Duration when, std::function<void()> fault) {
  world_->queue.After(when, [this, fault = std::move(fault)] {
    if (!over_) fault();
  });
}

SimWorker* FaultSchedule::AnyWorker() { return workers_[world_->random.Below(workers_.size())]; }

void FaultSchedule::PlanCrash() {
  SimWorker* worker = AnyWorker();
  const Duration when = world_->random.Between(Duration{}, span_);
  const Duration down = world_->random.Between(milliseconds(1), milliseconds(1500));
  At(when, [worker] { worker->Crash(); });
  At(when + down, [worker] {
    if (!worker->Alive()) worker->Start();
  });
}

void FaultSchedule::PlanPause() {
  SimWorker* worker = AnyWorker();
  const Duration when = world_->random.Between(Duration{}, span_);
  const Duration length = world_->random.Between(milliseconds(1), milliseconds(4000));
  At(when, [worker] { worker->Pause(); });
  At(when + length, [worker] { worker->Resume(); });
}

void FaultSchedule::PlanCut() {
  const HostId a = AnyWorker()->spec().slot;
  const HostId b = AnyWorker()->spec().slot;
  if (a == b) return;
  At(world_->random.Between(Duration{}, span_), [this, a, b] {
    world_->log.Note("net: hosts ", a, " and ", b, " are cut off from each other");
    world_->network.CutBetween(a, b);
  });
}

void FaultSchedule::PlanSessionFault() {
  Random& random = world_->random;
  const uint32_t slot = AnyWorker()->spec().slot;
  const Duration when = random.Between(Duration{}, span_);
  if (random.Chance(0.3)) {
    return At(when, [this, slot] { sessions_->Cut(slot); });
  }
  // One way, or both.
  const uint32_t ways = random.Between(1, 3);
  // Most are shorter than the silence that ends a session: the epoch fails and the session lives.
  const Duration length =
      random.Between(milliseconds(1), milliseconds(random.Chance(0.7) ? 1500 : 3500));
  At(when, [this, slot, ways, length] {
    const Instant until = world_->queue.now() + length;
    world_->log.Note("session of worker ", slot, " stalls, ways ", ways);
    if (ways & 1) sessions_->Stall(slot, SimSessions::kToWorker, until);
    if (ways & 2) sessions_->Stall(slot, SimSessions::kToRouter, until);
  });
}

// Swizzle-clogging: some links clog one after the other, and open again in another order.
void FaultSchedule::PlanSwizzle() {
  Random& random = world_->random;
  const Duration begin = random.Between(Duration{}, span_ / 2);
  for (const SimWorker* from : workers_) {
    for (const SimWorker* to : workers_) {
      if (from == to || random.Chance(0.5)) continue;
      const Duration clogs = begin + random.Between(Duration{}, span_ / 4);
      const Duration opens = span_ * 3 / 4 + random.Between(Duration{}, span_ / 4);
      const HostId a = from->spec().slot;
      const HostId b = to->spec().slot;
      At(clogs, [this, a, b, length = opens - clogs] {
        world_->network.Clog(a, b, world_->queue.now() + length);
      });
    }
  }
}

void FaultSchedule::End() {
  over_ = true;
  const Duration late_write = world_->network.faults.late_write;
  world_->network.faults = {};
  world_->network.faults.late_write = late_write;  // of what is posted already
  world_->engine_faults = {};
  for (SimWorker* worker : workers_) {
    worker->Resume();
    if (!worker->Alive()) worker->Start();
  }
  world_->log.Note("faults are over");
}

}  // namespace tandem::sim
