// SimWorker: a place where workers live, one life after the other. A life is a production core,
// block cache and transfer engine around a SimEngine, a SimTransport and a SimMemory, joined as
// WorkerShell joins them, with small random delays where threads hand over to each other. It checks
// that blocks are conserved after every event.
//
// Crash ends a life and its memory. While paused nothing runs here; all of it runs on Resume, late.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/engine/worker_core.h"
#include "common/kv/kv_cache.h"
#include "common/transfer/transfer_engine.h"
#include "decode_worker/core/decode_core.h"
#include "prefill_worker/core/prefill_core.h"
#include "tests/sim/sim_sessions.h"
#include "tests/sim/sim_world.h"

namespace tandem::sim {

// The same for every life.
struct WorkerSpec {
  WorkerRole role = WorkerRole::kDecode;
  uint32_t slot = 0;  // at the router; also the host
  uint32_t num_blocks = 0;
  uint32_t num_layers = 0;
  uint32_t max_model_len = 0;
  DecodeCoreOptions decode;    // of a decode worker; incarnation is set here
  PrefillCoreOptions prefill;  // of a prefill worker
  TransferEngineOptions transfer;
};

class SimWorker : public SessionWorker {
 public:
  SimWorker(SimWorld* world, const WorkerSpec& spec);
  ~SimWorker() override;

  void set_sessions(SimSessions* sessions) { sessions_ = sessions; }

  void Start();  // REQUIRES: !Alive()
  void Crash();
  // The end of the run.
  void End();
  void Pause();
  void Resume();

  bool Alive() const override { return life_ != nullptr; }
  bool Paused() const override;
  void OnSessionOpened(SessionId session) override;
  void OnSessionMessages(SessionId session, std::vector<RouterToWorker> messages) override;
  void OnSessionClosed(SessionId session, std::string reason) override;

  // Nothing is left to do, and only free and cached blocks remain.
  bool Idle() const;
  // Why not, for a failure's text.
  std::string DescribeBusy() const;
  const std::string& name() const { return name_; }
  const WorkerSpec& spec() const { return spec_; }

 private:
  struct Life;

  WorkerHello Hello() const;
  void CarryOut(Life& life, WorkerEffects effects);

  SimWorld* const world_;
  const WorkerSpec spec_;
  const std::string name_;
  SimSessions* sessions_ = nullptr;
  std::shared_ptr<Life> life_;
  uint64_t lives_ = 0;
};

}  // namespace tandem::sim
