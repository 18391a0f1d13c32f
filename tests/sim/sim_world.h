// What every part of one simulated cluster shares. Plain data; one per run, one thread.
#pragma once

#include <cstdint>

#include "tests/sim/coverage.h"
#include "tests/sim/event_log.h"
#include "tests/sim/event_queue.h"
#include "tests/sim/oracle.h"
#include "tests/sim/random.h"
#include "tests/sim/sim_engine.h"
#include "tests/sim/sim_model.h"
#include "tests/sim/sim_network.h"

namespace tandem::sim {

struct SimWorld {
  SimWorld(uint64_t seed, bool log_enabled)
      : random(seed),
        log(&queue, log_enabled),
        oracle(&log),
        network(&queue, &log, &oracle, &random) {}

  EventQueue queue;
  Random random;
  EventLog log;
  Oracle oracle;
  PrefixTree prefixes;
  SimNetwork network;
  SimEngineFaults engine_faults;
  Coverage coverage;
};

}  // namespace tandem::sim
