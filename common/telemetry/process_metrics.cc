#include "common/telemetry/process_metrics.h"

#include <prometheus/metric_family.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>

namespace tandem {
namespace {

// The life of the process up to the first look at this file's statics is a few milliseconds.
const double g_start_seconds =
    std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();

prometheus::MetricFamily Family(const char* name, const char* help, prometheus::MetricType type,
                                double value) {
  prometheus::ClientMetric metric;
  if (type == prometheus::MetricType::Counter) {
    metric.counter.value = value;
  } else {
    metric.gauge.value = value;
  }
  return {name, help, type, {metric}};
}

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) { return t.tv_sec + t.tv_usec * 1e-6; };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

double ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  double size_pages = 0, resident_pages = 0;
  statm >> size_pages >> resident_pages;
  return resident_pages * static_cast<double>(sysconf(_SC_PAGESIZE));
}

double CountEntries(const char* folder) {
  std::error_code error;
  const std::filesystem::directory_iterator entries(folder, error);
  if (error) return 0;
  return static_cast<double>(std::distance(begin(entries), end(entries)));
}

}  // namespace

std::vector<prometheus::MetricFamily> ProcessMetrics::Collect() const {
  using prometheus::MetricType;
  return {
      Family("process_cpu_seconds_total", "User and system CPU time spent.", MetricType::Counter,
             CpuSeconds()),
      Family("process_resident_memory_bytes", "Resident memory.", MetricType::Gauge,
             ResidentBytes()),
      Family("process_open_fds", "Open file descriptors.", MetricType::Gauge,
             CountEntries("/proc/self/fd")),
      Family("process_threads", "Threads.", MetricType::Gauge, CountEntries("/proc/self/task")),
      Family("process_start_time_seconds", "Start time since the Unix epoch.", MetricType::Gauge,
             g_start_seconds),
  };
}

}  // namespace tandem
