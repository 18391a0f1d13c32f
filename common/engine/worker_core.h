// WorkerCore: what the core of a prefill and of a decode worker have in common, as their shell (and
// the simulation) sees them. Core thread only.
#pragma once

#include "common/base/clock.h"
#include "common/engine/worker_events.h"
#include "common/protocol/router_messages.h"

namespace tandem {

class WorkerCore {
 public:
  virtual ~WorkerCore() = default;

  // Takes one event in; what it asks for is added to `effects`. Follow a batch of events with
  // Advance.
  virtual void Handle(WorkerEvent event, Instant now, WorkerEffects* effects) = 0;
  // Meets deadlines, starts what can start, sends heartbeats. `progress_age` is the runner's.
  virtual void Advance(Instant now, Duration progress_age, WorkerEffects* effects) = 0;
  // When Advance must be called again though nothing happens.
  virtual Instant NextDeadline() const = 0;
  // Nothing is left to do or to wait for: only free and cached blocks remain.
  virtual bool idle() const = 0;
  virtual WorkerLoad load() const = 0;
};

}  // namespace tandem
