// SimSessions: the sessions between the router and its workers, one each, as the shells and gRPC
// provide them: both directions are reliable and in order until the session ends, and each side
// hears of the end in its own time. A side that hears nothing for kSessionSilenceLimit ends it.
// After that a new session follows, with a new id; what was under way in the old one is gone.
//
// Faults come from outside: Cut, Stall, and workers that die or pause.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/base/clock.h"
#include "common/base/ids.h"
#include "common/protocol/router_messages.h"
#include "tests/sim/sim_world.h"

namespace tandem::sim {

// The worker's end of its session.
class SessionWorker {
 public:
  virtual ~SessionWorker() = default;
  virtual bool Alive() const = 0;   // false: its process is gone
  virtual bool Paused() const = 0;  // it hears everything later
  virtual void OnSessionOpened(SessionId session) = 0;
  virtual void OnSessionMessages(SessionId session, std::vector<RouterToWorker> messages) = 0;
  virtual void OnSessionClosed(SessionId session, std::string reason) = 0;
};

// The router's end of all sessions.
class SessionRouter {
 public:
  virtual ~SessionRouter() = default;
  virtual void OnWorkerMessages(uint32_t slot, std::vector<WorkerToRouter> messages) = 0;
  virtual void OnSessionDown(uint32_t slot, absl::string_view reason) = 0;
};

class SimSessions {
 public:
  enum Direction { kToWorker = 0, kToRouter = 1 };

  SimSessions(SimWorld* world, std::vector<SessionWorker*> workers, SessionRouter* router);

  // Starts connecting to every worker, and goes on doing so.
  void Start();

  void SendToWorker(uint32_t slot, std::vector<RouterToWorker> messages);
  void SendToRouter(uint32_t slot, SessionId session, std::vector<WorkerToRouter> messages);
  // The router ends the session.
  void EndByRouter(uint32_t slot, absl::string_view reason);
  // The worker's process ended: the router hears it soon.
  void WorkerDied(uint32_t slot);

  void Cut(uint32_t slot);
  // Nothing arrives in this direction before `until`; then all of it does, in order.
  void Stall(uint32_t slot, Direction direction, Instant until);

 private:
  struct Slot {
    SessionId session;  // zero: none since the last one ended at the router
    bool router_open = false;
    // As the worker sees it: open sessions and when each was last heard. An old one may end after
    // the next one has begun.
    std::map<SessionId, Instant> at_worker;
    Instant arrival[2];  // of the last message, by direction
    Instant stalled_until[2];
  };

  void TryConnect(uint32_t slot);
  void ReconnectLater(uint32_t slot);
  void RouterEnd(uint32_t slot, absl::string_view reason, bool tell_core);
  void WorkerEnd(uint32_t slot, SessionId session, absl::string_view reason);
  void WatchSilence(uint32_t slot);
  Instant NextArrival(Slot& slot, Direction direction);

  SimWorld* const world_;
  const std::vector<SessionWorker*> workers_;
  SessionRouter* const router_;
  std::vector<Slot> slots_;
  uint64_t last_session_ = 0;
};

}  // namespace tandem::sim
