// Which faults a run gets. A profile says how rough it is; the schedule draws when and where from
// the seed, and ends all of it at one instant: then every worker runs, every link is open and
// nothing is damaged any more.
#pragma once

#include <memory>
#include <vector>

#include "common/base/clock.h"
#include "tests/sim/sim_sessions.h"
#include "tests/sim/sim_worker.h"
#include "tests/sim/sim_world.h"

namespace tandem::sim {

struct FaultProfile {
  bool calm = false;  // no faults at all
  bool network = false;
  bool damage = false;
  bool crashes = false;
  bool pauses = false;
  bool sessions = false;
  bool clogs = false;
  bool engines = false;
};
FaultProfile DrawProfile(Random* random);

class FaultSchedule {
 public:
  FaultSchedule(SimWorld* world, const FaultProfile& profile, SimSessions* sessions,
                std::vector<SimWorker*> workers);

  // Plans all faults within `span` from now.
  void Start(Duration span);
  // Repairs everything.
  void End();

 private:
  void DrawNetworkFaults();
  void DrawEngineFaults();
  void PlanCrash();
  void PlanPause();
  void PlanCut();
  void PlanSessionFault();
  void PlanSwizzle();
  void At(Duration when, std::function<void()> fault);
  SimWorker* AnyWorker();

  SimWorld* const world_;
  const FaultProfile profile_;
  SimSessions* const sessions_;
  const std::vector<SimWorker*> workers_;
  Duration span_{};
  bool over_ = false;
};

}  // namespace tandem::sim
