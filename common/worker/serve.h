// The part of main that both workers share: serve with a core until told to stop.
#pragma once

#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/config/config.h"
#include "common/engine/worker_core.h"
#include "common/telemetry/worker_metrics.h"
#include "common/worker/worker_setup.h"

namespace tandem {

// Called by main before any thread starts: the log's level and role, and the signals.
void StartProcess(const CommonConfig& config, absl::string_view role);

// Listens, writes the port file, runs the core until SIGINT or SIGTERM, and drains. `feed` copies
// the core's own counters into the metrics; it is called on the core thread.
absl::Status Serve(const WorkerConfig& config, WorkerSetup* setup, WorkerCore* core,
                   std::function<void(WorkerMetrics*)> feed);

// "tandem-`role`: `message`" on stderr when `status` is an error; the exit code of main.
int ExitCode(absl::string_view role, const absl::Status& status);

}  // namespace tandem
