// The router's side of the sessions: one to each worker, for ever trying to be up.
//
// A worker is up from its valid WorkerHello to the end of that session; then the client calls
// again, after a back-off with jitter. Nothing is resumed: what was sent in a session that ended is
// lost. Thread-safe. Owned by the router's main; the sink must outlive it.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/protocol/router_messages.h"
#include "common/rpc/read_gate.h"
#include "common/rpc/session_limits.h"

namespace tandem {

// What the router's shell does with its sessions; `worker` is the index of the address. Called from
// the one thread that the client reads all sessions with, for each worker in this order: OnUp,
// OnMessages any number of times, OnDown, and again. Attempts that never came up are logged, not
// told. Must not block, for all sessions wait meanwhile, and must not call Shutdown.
class SessionClientSink {
 public:
  virtual ~SessionClientSink() = default;
  virtual void OnUp(size_t worker, const WorkerHello& hello) = 0;
  // Valid messages in the order sent, without the hello, heartbeats included. The session reads no
  // more while max_unhandled_frames credits are out: let `credit` go once they are handled.
  virtual void OnMessages(size_t worker, std::vector<WorkerToRouter> messages,
                          ReadCredit credit) = 0;
  // ABORTED: the worker lives and cut the session off, for this router read it too slowly or was
  // silent.
  virtual void OnDown(size_t worker, const absl::Status& reason) = 0;
};

class SessionClient {
 public:
  // Starts calling at once. `addresses` are gRPC targets ("host:port"); `hello` opens every
  // session. `sink` is not owned.
  static std::unique_ptr<SessionClient> Start(std::vector<std::string> addresses,
                                              const RouterHello& hello, const SessionLimits& limits,
                                              SessionClientSink* sink);
  virtual ~SessionClient() = default;  // ends what Shutdown has not ended

  // Queues messages (not the hello) behind those sent before. Nothing is queued on error:
  //   UNAVAILABLE         the worker is not up
  //   INVALID_ARGUMENT    a message that the worker would refuse; says which and why
  //   RESOURCE_EXHAUSTED  the outgoing queue is full: the session is ended
  virtual absl::Status Send(size_t worker, std::vector<RouterToWorker> messages) = 0;

  // The worker reads more slowly than messages are sent to it: place no requests there now. What
  // belongs to placed ones may still be sent, prefill jobs too: it is bounded by them.
  virtual bool backlogged(size_t worker) const = 0;

  // False: what the worker sends is left unread, until the sink has handled what came before or
  // returned from a call that took long, so that nothing can be heard of it.
  virtual bool listening(size_t worker) const = 0;

  // Ends the session, if there is one; the client calls the worker again.
  virtual void EndSession(size_t worker, const absl::Status& reason) = 0;

  // Ends all sessions and returns once every OnDown has returned. Idempotent.
  virtual void Shutdown() = 0;
};

}  // namespace tandem
