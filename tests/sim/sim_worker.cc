#include "tests/sim/sim_worker.h"

#include <algorithm>
#include <utility>

namespace tandem::sim {
namespace {

// Between two threads of a worker.
constexpr Duration kLongestHandover = std::chrono::microseconds(300);

const char* RoleLetter(WorkerRole role) { return role == WorkerRole::kPrefill ? "P" : "D"; }

}  // namespace

struct SimWorker::Life : std::enable_shared_from_this<Life> {
  Life(SimWorker* worker, uint64_t number);
  ~Life();

  // Runs the action now, or on Resume while paused.
  void Run(std::function<void()> action) {
    if (paused) {
      deferred.push_back(std::move(action));
    } else {
      action();
    }
  }
  void Later(Duration delay, std::function<void()> action) {
    world->queue.After(delay, [weak = weak_from_this(), action = std::move(action)] {
      if (const auto life = weak.lock()) life->Run(action);
    });
  }
  Duration Handover() { return world->random.Between(Duration{}, kLongestHandover); }

  void PostToCore(WorkerEvent event) {
    inbox.push_back(std::move(event));
    if (std::exchange(core_turn_due, true)) return;
    Later(Handover(), [this] { CoreTurn(); });
  }
  void PostToTransfer(TransferCommand command) {
    commands.push_back(std::move(command));
    WakeTransfer();
  }
  void WakeTransfer() {
    if (std::exchange(transfer_turn_due, true)) return;
    Later(Handover(), [this] { TransferTurn(); });
  }
  void CoreTurn();
  void TransferTurn();
  void WakeCoreAt(Instant when);
  void WakeTransferAt(Instant when);
  void CheckBlocks(const char* after);
  std::unique_ptr<WorkerCore> MakeCore();

  SimWorker* const worker;
  SimWorld* const world;
  const WorkerSpec& spec;
  const std::string name;
  const Incarnation incarnation;
  KvCache cache;
  SimMemory memory;
  std::unique_ptr<SimTransport> transport;
  std::unique_ptr<TransferEngine> transfer;
  std::unique_ptr<SimEngine> engine;
  std::unique_ptr<WorkerCore> core;  // goes before the cache

  std::deque<WorkerEvent> inbox;
  std::deque<TransferCommand> commands;
  bool core_turn_due = false;
  bool transfer_turn_due = false;
  Instant core_wake = kNever;
  Instant transfer_wake = kNever;
  bool paused = false;
  std::deque<std::function<void()>> deferred;
};

SimWorker::Life::Life(SimWorker* w, uint64_t number)
    : worker(w),
      world(w->world_),
      spec(w->spec_),
      name(absl::StrCat(w->name_, ".", number)),
      incarnation(world->random.Next() | 1),
      cache(spec.num_blocks),
      memory(name, spec.num_layers, &cache.pool(), &world->oracle) {
  transport = std::make_unique<SimTransport>(&world->network, spec.slot, &memory,
                                             [this] { WakeTransfer(); });
  TransferEngineOptions options = spec.transfer;
  options.handshake = w->Hello().handshake;
  options.handshake.incarnation = incarnation;
  if (world->log.enabled()) {
    options.log = [this](absl::string_view line) { world->log.Note(name, " ", line); };
  }
  transfer = std::make_unique<TransferEngine>(transport.get(), memory.View(), options);
  engine = std::make_unique<SimEngine>(
      name, &memory, &world->prefixes, &world->oracle, &world->random, &world->engine_faults,
      &world->queue,
      [this](Duration delay, std::function<void()> action) { Later(delay, std::move(action)); },
      [this](RunnerEvent event) { PostToCore(std::move(event)); });
  core = MakeCore();
}

SimWorker::Life::~Life() {
  world->coverage.Add(transfer->counters());
  if (const auto* decode = dynamic_cast<const DecodeCore*>(core.get())) {
    world->coverage.Add(decode->counters());
  } else {
    world->coverage.Add(static_cast<const PrefillCore*>(core.get())->counters());
  }
}

std::unique_ptr<WorkerCore> SimWorker::Life::MakeCore() {
  if (spec.role == WorkerRole::kPrefill) return std::make_unique<PrefillCore>(spec.prefill, &cache);
  DecodeCoreOptions options = spec.decode;
  options.incarnation = incarnation;
  options.first_grant_id = world->random.Next() | 1;
  return std::make_unique<DecodeCore>(options, &cache);
}

void SimWorker::Life::CoreTurn() {
  core_turn_due = false;
  const Instant now = world->queue.now();
  WorkerEffects effects;
  for (WorkerEvent& event : std::exchange(inbox, {})) {
    core->Handle(std::move(event), now, &effects);
    CheckBlocks("an event");
  }
  core->Advance(now, engine->ProgressAge(), &effects);
  CheckBlocks("Advance");
  worker->CarryOut(*this, std::move(effects));
  WakeCoreAt(core->NextDeadline());
}

void SimWorker::Life::TransferTurn() {
  transfer_turn_due = false;
  const Instant now = world->queue.now();
  for (TransferCommand& command : std::exchange(commands, {})) {
    transfer->Handle(std::move(command), now);
  }
  transfer->Poll(now);
  for (TransferEvent& event : transfer->TakeEvents()) PostToCore(std::move(event));
  WakeTransferAt(transfer->NextDeadline());
}

void SimWorker::Life::WakeCoreAt(Instant when) {
  const Instant now = world->queue.now();
  world->oracle.Require(when > now, name, ": the core has a deadline that passed already");
  if (when == kNever || (core_wake > now && core_wake <= when)) return;
  core_wake = when;
  Later(when - now, [this] {
    if (!core_turn_due) CoreTurn();
  });
}

void SimWorker::Life::WakeTransferAt(Instant when) {
  const Instant now = world->queue.now();
  world->oracle.Require(when > now, name, ": the transfer engine has a deadline that passed");
  if (when == kNever || (transfer_wake > now && transfer_wake <= when)) return;
  transfer_wake = when;
  Later(when - now, [this] {
    if (!transfer_turn_due) TransferTurn();
  });
}

void SimWorker::Life::CheckBlocks(const char* after) {
  const BlockPool& pool = cache.pool();
  pool.CheckConserved();
  uint32_t sum = 0;
  for (size_t s = 0; s < kNumBlockStates; ++s) sum += pool.count(static_cast<BlockState>(s));
  world->oracle.Require(sum == pool.num_blocks(), name, ": blocks are not conserved after ", after);
}

SimWorker::SimWorker(SimWorld* world, const WorkerSpec& spec)
    : world_(world), spec_(spec), name_(absl::StrCat(RoleLetter(spec.role), spec.slot)) {}

SimWorker::~SimWorker() = default;

void SimWorker::Start() {
  TANDEM_CHECK(!Alive());
  life_ = std::make_shared<Life>(this, ++lives_);
  world_->log.Note(life_->name, " starts as incarnation ", life_->incarnation.value());
}

void SimWorker::Crash() {
  if (!Alive()) return;
  world_->log.Note(life_->name, " crashes");
  life_.reset();
  sessions_->WorkerDied(spec_.slot);
}

void SimWorker::End() { life_.reset(); }

void SimWorker::Pause() {
  if (!Alive()) return;
  world_->log.Note(life_->name, " is paused");
  life_->paused = true;
}

void SimWorker::Resume() {
  if (!Alive() || !life_->paused) return;
  world_->log.Note(life_->name, " goes on");
  life_->paused = false;
  for (auto& action : std::exchange(life_->deferred, {})) action();
}

bool SimWorker::Paused() const { return life_ != nullptr && life_->paused; }

WorkerHello SimWorker::Hello() const {
  WorkerHello hello{.role = spec_.role, .handshake = {}, .worker_name = name_, .model_name = "sim"};
  hello.handshake.kv = {.model_fingerprint = "sim",
                        .numeric_profile = "sim",
                        .num_layers = spec_.num_layers,
                        .num_kv_heads = 1,
                        .head_dim = 1,
                        .kv_type = "u64",
                        .layout = "layer,block,token"};
  hello.transfer_address = SimNetwork::AddressOf(spec_.slot);
  hello.max_model_len = spec_.max_model_len;
  hello.num_blocks = spec_.num_blocks;
  hello.max_sequences = spec_.decode.max_sequences;
  return hello;
}

void SimWorker::OnSessionOpened(SessionId session) {
  life_->Run([this, life = life_.get(), session] {
    WorkerHello hello = Hello();
    hello.handshake.incarnation = life->incarnation;
    sessions_->SendToRouter(spec_.slot, session, {hello});
    life->PostToCore(SessionOpened{session});
  });
}

void SimWorker::OnSessionMessages(SessionId session, std::vector<RouterToWorker> messages) {
  life_->Run([life = life_.get(), session, messages = std::move(messages)]() mutable {
    life->PostToCore(SessionMessages{session, std::move(messages)});
  });
}

void SimWorker::OnSessionClosed(SessionId session, std::string reason) {
  life_->Run([life = life_.get(), session, reason = std::move(reason)] {
    life->PostToCore(SessionClosed{session, reason});
  });
}

void SimWorker::CarryOut(Life& life, WorkerEffects effects) {
  for (StepPlan& plan : effects.steps) life.engine->Submit(std::move(plan));
  for (const StepDrop& drop : effects.drops) life.engine->Drop(drop);
  for (TransferCommand& command : effects.transfers) life.PostToTransfer(std::move(command));
  std::stable_sort(effects.sends.begin(), effects.sends.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  for (size_t i = 0; i < effects.sends.size();) {
    const SessionId session = effects.sends[i].first;
    std::vector<WorkerToRouter> batch;
    for (; i < effects.sends.size() && effects.sends[i].first == session; ++i) {
      batch.push_back(std::move(effects.sends[i].second));
    }
    sessions_->SendToRouter(spec_.slot, session, std::move(batch));
  }
  if (!world_->log.enabled()) return;
  for (const CoreNote& note : effects.notes) {
    std::string line = absl::StrCat(life.name, " ", note.event, " request=", note.trace_id);
    for (const auto& [key, value] : note.fields) absl::StrAppend(&line, " ", key, "=", value);
    world_->log.Note(line);
  }
}

bool SimWorker::Idle() const {
  const BlockPool& pool = life_->cache.pool();
  return life_->core->idle() && pool.available() == pool.num_blocks() &&
         life_->transfer->num_in_flight() == 0;
}

std::string SimWorker::DescribeBusy() const {
  if (!Alive()) return absl::StrCat(name_, " is dead");
  const BlockPool& pool = life_->cache.pool();
  std::string text = absl::StrCat(life_->name, life_->core->idle() ? " idle" : " busy", ", ",
                                  life_->transfer->num_in_flight(), " segments in flight, blocks");
  for (size_t s = 0; s < kNumBlockStates; ++s) {
    const auto state = static_cast<BlockState>(s);
    absl::StrAppend(&text, " ", BlockStateName(state), ":", pool.count(state));
  }
  return text;
}

}  // namespace tandem::sim
