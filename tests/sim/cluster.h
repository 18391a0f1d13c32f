// Cluster: one whole run of one seed. It draws the cluster's shape, the workload and the faults,
// lets virtual time pass, and says what the oracle found.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/sim/fault_schedule.h"
#include "tests/sim/sim_router.h"
#include "tests/sim/sim_sessions.h"
#include "tests/sim/sim_worker.h"
#include "tests/sim/sim_world.h"
#include "tests/sim/workload.h"

namespace tandem::sim {

struct RunResult {
  std::string failure;  // empty: all was as it must be
  uint64_t events = 0;
  uint64_t digest = 0;  // equal for two runs of one seed
  Coverage coverage;
};

class Cluster {
 public:
  Cluster(uint64_t seed, bool log_enabled);

  RunResult Run();

 private:
  void DrawWorkers();
  WorkerSpec DrawSpec(WorkerRole role, uint32_t slot);
  RouterCoreOptions DrawRouter();

  // Runs events until `until`, or until the oracle has failed.
  void RunUntil(Instant until);
  // Runs until nothing is left to do anywhere; a failure when that takes longer than `limit`.
  void RunUntilQuiet(Duration limit, const char* when);
  bool Quiet() const;
  void Probe();

  SimWorld world_;
  const FaultProfile profile_;
  uint32_t num_layers_ = 0;
  uint32_t max_model_len_ = 0;
  std::vector<std::unique_ptr<SimWorker>> workers_;
  std::unique_ptr<SimRouter> router_;
  std::unique_ptr<SimSessions> sessions_;
  std::unique_ptr<FaultSchedule> faults_;
};

}  // namespace tandem::sim
