// The worker's side of the sessions with its routers: a gRPC server that turns each router's stream
// into calls of a SessionSink, and messages of the core into frames.
//
// A session begins with both hellos and ends once, for one of: the router closed it, the connection
// broke, the router was silent for `silence_limit`, or its session stayed backlogged for as long,
// it sent something invalid, or the outgoing queue ran over. The server never resumes a session.
// Thread-safe. Owned by the worker's main; the sink must outlive it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/protocol/router_messages.h"
#include "common/rpc/read_gate.h"
#include "common/rpc/session_limits.h"

namespace tandem {

// What a worker's shell does with its sessions. Called from gRPC threads, for one session one call
// at a time and in this order: OnOpened, OnMessages any number of times, OnClosed. Must not block,
// and must not call Shutdown.
class SessionSink {
 public:
  virtual ~SessionSink() = default;
  virtual void OnOpened(SessionId session, const RouterHello& hello) = 0;
  // Valid messages in the order sent, without the hello, heartbeats included. The session reads no
  // more while max_unhandled_frames credits are out: let `credit` go once they are handled.
  virtual void OnMessages(SessionId session, std::vector<RouterToWorker> messages,
                          ReadCredit credit) = 0;
  // No session is backlogged any more. Called from any thread that has to do with one.
  virtual void OnBacklogCleared() = 0;
  // `reason` is for logs.
  virtual void OnClosed(SessionId session, const absl::Status& reason) = 0;
};

class SessionServer {
 public:
  struct Options {
    std::string host = "127.0.0.1";
    uint16_t port = 0;  // 0: any free port
    SessionLimits limits;
  };

  // Listens from now on. `hello` is the first message of every session. UNAVAILABLE with one clear
  // line when the address cannot be bound. `sink` is not owned.
  static absl::StatusOr<std::unique_ptr<SessionServer>> Start(const Options& options,
                                                              const WorkerHello& hello,
                                                              SessionSink* sink);
  virtual ~SessionServer() = default;  // ends what Shutdown has not ended

  virtual uint16_t port() const = 0;

  // Queues messages (not the hello) behind those sent before; frames are written one at a time and
  // take all that has gathered. Nothing is queued on error:
  //   NOT_FOUND           the session has ended or never was
  //   INVALID_ARGUMENT    a message that the router would refuse
  //   RESOURCE_EXHAUSTED  the outgoing queue is full: the session is ended
  virtual absl::Status Send(SessionId session, std::vector<WorkerToRouter> messages) = 0;

  // Some router reads more slowly than messages are sent to it: send nothing that can wait until
  // OnBacklogCleared, which comes within `silence_limit` of the last time that a session became
  // backlogged.
  virtual bool backlogged() const = 0;

  // Nothing that was sent waits any more for a router to read on. Shutdown drops what does.
  virtual bool all_written() = 0;

  // Ends one session.
  virtual void EndSession(SessionId session, const absl::Status& reason) = 0;

  // Refuses new sessions, ends the open ones and returns once every OnClosed has returned, after
  // limits.shutdown_limit at most (then connections are cut). Idempotent.
  virtual void Shutdown() = 0;
};

}  // namespace tandem
