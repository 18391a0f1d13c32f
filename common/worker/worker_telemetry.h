// WorkerTelemetry feeds a worker's metrics from its core's state, its steps and its transfers. Core
// thread only; scrapes read the metrics from their own thread.
#pragma once

#include <functional>

#include "common/engine/worker_core.h"
#include "common/kv/kv_cache.h"
#include "common/telemetry/worker_metrics.h"
#include "common/transfer/transfer_counters.h"

namespace tandem {

class WorkerTelemetry {
 public:
  // All pointers outlive it. `feed` copies the core's own counters, every turn.
  WorkerTelemetry(MetricsRegistry* registry, const KvCache* cache, const WorkerCore* core,
                  std::function<void(WorkerMetrics*)> feed);

  void OnSubmitted(const StepPlan& plan);
  void OnStepDone(const StepDone& done);
  void OnHold() { metrics_.holds.Add(); }
  void OnTurn(const TransferCounters& transfer);

 private:
  WorkerMetrics metrics_;
  const KvCache* const cache_;
  const WorkerCore* const core_;
  const std::function<void(WorkerMetrics*)> feed_;
};

}  // namespace tandem
