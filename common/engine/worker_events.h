// The inbox and the outbox of a worker's core: everything that can happen to it, and everything it
// can ask for. Plain data. Both workers' shells deliver the first and carry out the second; the
// simulation does the same in virtual time.
#pragma once

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "common/base/ids.h"
#include "common/engine/step.h"
#include "common/engine/transfer_port.h"
#include "common/protocol/router_messages.h"

namespace tandem {

struct SessionOpened {
  SessionId session;
};

struct SessionMessages {
  SessionId session;
  std::vector<RouterToWorker> messages;
};

// The session ended or fell silent: everything it started is cancelled.
struct SessionClosed {
  SessionId session;
  std::string reason;
};

// Stop taking new work and finish what is there (SIGTERM).
struct DrainRequested {};

using WorkerEvent = std::variant<SessionOpened, SessionMessages, SessionClosed, TransferEvent,
                                 RunnerEvent, DrainRequested>;

// One line worth logging, of one request.
struct CoreNote {
  std::string event;  // "granted", "landed", ...
  std::string trace_id;
  std::vector<std::pair<std::string, std::string>> fields;
};

// What one call of a core asked for, in order. The shell carries it out and empties it.
struct WorkerEffects {
  std::vector<std::pair<SessionId, WorkerToRouter>> sends;
  std::vector<TransferCommand> transfers;
  std::vector<StepPlan> steps;
  std::vector<StepDrop> drops;
  std::vector<CoreNote> notes;
};

}  // namespace tandem
