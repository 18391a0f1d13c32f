#include "common/worker/worker_shell.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/telemetry/log.h"

namespace tandem {
namespace {

constexpr Duration kTurnInterval = std::chrono::milliseconds(100);
// Short holds that follow each other sooner than this are logged once; all are counted.
constexpr Duration kSameHolds = std::chrono::seconds(1);
constexpr Duration kLongHold = std::chrono::milliseconds(100);
// Between two looks at whether the routers have been written all, once the core is idle.
constexpr Duration kWrittenInterval = std::chrono::milliseconds(10);

void LogNote(const CoreNote& note) {
  if (!LogEnabled(Level::kInfo)) return;
  std::vector<LogField> fields{{"request", note.trace_id}};
  for (const auto& [key, value] : note.fields) {
    if (!value.empty()) fields.push_back({key, value});
  }
  Log(Level::kInfo, note.event, fields);
}

}  // namespace

WorkerShell::WorkerShell(WorkerShellOptions options, WorkerCore* core, Observer observer)
    : options_(std::move(options)), core_(core), observer_(std::move(observer)) {}

absl::StatusOr<std::unique_ptr<WorkerShell>> WorkerShell::Start(
    WorkerShellOptions options, WorkerCore* core, StepExecutor* executor, KvMemory memory,
    std::unique_ptr<KvTransport> transport, Observer observer) {
  std::unique_ptr<WorkerShell> shell(
      new WorkerShell(std::move(options), core, std::move(observer)));
  WorkerShell* self = shell.get();
  self->transfer_ = std::make_unique<TransferThread>(std::move(transport), std::move(memory),
                                                     self->options_.transfer,
                                                     [self](std::vector<TransferEvent> events) {
                                                       for (TransferEvent& event : events)
                                                         self->Post(std::move(event));
                                                     });
  self->runner_ = std::make_unique<RunnerThread>(
      executor, [self](RunnerEvent event) { self->Post(std::move(event)); });
  WorkerHello hello = self->options_.hello;
  hello.transfer_address = self->transfer_->address();
  ASSIGN_OR_RETURN(self->server_, SessionServer::Start(self->options_.server, hello, self));
  return shell;
}

WorkerShell::~WorkerShell() {
  if (server_) server_->Shutdown();
  inbox_.Close();
  runner_.reset();
  transfer_.reset();
}

void WorkerShell::OnOpened(SessionId session, const RouterHello& hello) {
  Log(Level::kInfo, "session opened",
      {{"session", session.value()}, {"router", hello.router_name}});
  Post(SessionOpened{session});
}

void WorkerShell::OnMessages(SessionId session, std::vector<RouterToWorker> messages,
                             ReadCredit credit) {
  inbox_.PushReserved({SessionMessages{session, std::move(messages)}, std::move(credit)});
}

void WorkerShell::OnClosed(SessionId session, const absl::Status& reason) {
  Log(Level::kInfo, "session closed", {{"session", session.value()}, {"why", reason.ToString()}});
  Post(SessionClosed{session, reason.ToString()});
}

void WorkerShell::RequestStop() {
  ++stop_requests_;
  Post(DrainRequested{});
}

// What came in by `deadline`, without the runner's events while a router's backlog is long: those
// wait, in order, until it is not.
std::vector<WorkerShell::Arrival> WorkerShell::Await(Instant deadline) {
  std::vector<Arrival> arrived = inbox_.PopAll(deadline);
  std::vector<Arrival> taken;
  const bool hold = server_->backlogged();
  if (!hold && !held_runner_events_.empty()) taken = EndHold();
  for (Arrival& arrival : arrived) {
    const bool held = hold && std::holds_alternative<RunnerEvent>(arrival.event);
    if (held && held_runner_events_.empty()) BeginHold();
    (held ? held_runner_events_ : taken).push_back(std::move(arrival));
  }
  return taken;
}

void WorkerShell::BeginHold() {
  const Instant now = SystemClock().Now();
  const bool again = now - std::exchange(hold_began_, now) < kSameHolds;
  hold_level_ = again ? Level::kDebug : Level::kInfo;
  observer_.on_hold();
  Log(hold_level_, "steps wait for a slow router");
}

std::vector<WorkerShell::Arrival> WorkerShell::EndHold() {
  const Duration waited = SystemClock().Now() - hold_began_;
  Log(waited < kLongHold ? hold_level_ : Level::kInfo, "steps go on",
      {{"waited_ms", ToMilliseconds(waited)}});
  return std::exchange(held_runner_events_, {});
}

bool WorkerShell::Run() {
  const Clock& clock = SystemClock();
  Instant drain_deadline = kNever;
  Instant next_turn = clock.Now();
  Instant next_look = kNever;  // at what is still to be written
  bool untold = false;         // a turn that the observer has not been told of
  while (true) {
    std::vector<Arrival> arrived = Await(
        std::min({core_->NextDeadline(), drain_deadline, next_look, untold ? next_turn : kNever}));
    const Instant now = clock.Now();
    WorkerEffects effects;
    for (auto& [event, credit] : arrived) {
      const auto* runner_event = std::get_if<RunnerEvent>(&event);
      const auto* done = runner_event ? std::get_if<StepDone>(runner_event) : nullptr;
      if (done != nullptr) observer_.on_step_done(*done);
      core_->Handle(std::move(event), now, &effects);
    }
    core_->Advance(now, runner_->ProgressAge(now), &effects);
    CarryOut(std::move(effects));
    untold = now < next_turn;
    if (!untold) {
      next_turn = now + kTurnInterval;
      observer_.on_turn();
    }
    const int stops = stop_requests_.load();
    if (stops > 0 && drain_deadline == kNever) {
      drain_deadline = now + options_.drain_limit;
      Log(Level::kInfo, "draining", {{"running", core_->load().running}});
    }
    const bool idle = stops > 0 && core_->idle();
    if (stops > 1 || now >= drain_deadline || (idle && server_->all_written())) break;
    next_look = idle ? now + kWrittenInterval : kNever;
  }
  server_->Shutdown();
  runner_.reset();  // finishes the step that runs: nothing computes into the arena any more
  const bool clean = transfer_->Shutdown();
  if (!clean) Log(Level::kError, "the transport still holds KV memory");
  return clean;
}

void WorkerShell::CarryOut(WorkerEffects effects) {
  // Before the steps: where the threads share a processor, the runner keeps it once it is woken,
  // and the peer would wait for its grant or acknowledgement.
  for (TransferCommand& command : effects.transfers) {
    // All of it follows from admitted work, so its number is bounded and none of it may be refused.
    transfer_->SubmitReserved(std::move(command));
  }
  for (StepPlan& plan : effects.steps) {
    observer_.on_submitted(plan);
    runner_->Submit(std::move(plan));
  }
  for (const StepDrop& drop : effects.drops) runner_->Drop(drop);
  // A session's messages of one turn leave in one batch.
  std::stable_sort(effects.sends.begin(), effects.sends.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  for (size_t i = 0; i < effects.sends.size();) {
    const SessionId session = effects.sends[i].first;
    std::vector<WorkerToRouter> batch;
    for (; i < effects.sends.size() && effects.sends[i].first == session; ++i) {
      batch.push_back(std::move(effects.sends[i].second));
    }
    const absl::Status sent = server_->Send(session, std::move(batch));
    if (!sent.ok() && !absl::IsNotFound(sent)) {
      Log(Level::kWarn, "messages not sent", {{"why", sent.ToString()}});
    }
  }
  for (const CoreNote& note : effects.notes) LogNote(note);
}

}  // namespace tandem
