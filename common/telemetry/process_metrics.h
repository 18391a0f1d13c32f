// The standard process_* metrics, read from /proc at each scrape. Includes the library's headers:
// for metrics.cc only. Thread-safe.
#pragma once

#include <prometheus/collectable.h>

#include <vector>

namespace tandem {

class ProcessMetrics : public prometheus::Collectable {
 public:
  // process_cpu_seconds_total, process_resident_memory_bytes, process_open_fds, process_threads and
  // process_start_time_seconds.
  std::vector<prometheus::MetricFamily> Collect() const override;
};

}  // namespace tandem
