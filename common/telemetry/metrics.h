// The numbers a process shows to Prometheus. MetricsRegistry owns them; RouterMetrics and
// WorkerMetrics (beside this file) name them. A Counter, Gauge or Histogram is a cheap handle to
// one series; it must not outlive its registry.
//
// Label sets are closed enums and every series exists from the start at 0, so that rate() and
// absent() work. No label ever carries a request, a client, a prompt or a peer. Thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace prometheus {
class Collectable;
class Counter;
class Exposer;
class Gauge;
class Histogram;
class Registry;
}  // namespace prometheus

namespace tandem {

class Counter {
 public:
  Counter() = default;
  explicit Counter(prometheus::Counter* series) : series_(series) {}
  // Never negative.
  void Add(double amount = 1) const;
  // Raises the counter to a total that is counted elsewhere; a smaller total changes nothing. One
  // thread a series.
  void SetTotal(uint64_t total) const;
  double Value() const;

 private:
  prometheus::Counter* series_ = nullptr;  // null: counts nothing
};

class Gauge {
 public:
  Gauge() = default;
  explicit Gauge(prometheus::Gauge* series) : series_(series) {}
  void Set(double value) const;
  void Add(double amount) const;
  double Value() const;

 private:
  prometheus::Gauge* series_ = nullptr;
};

class Histogram {
 public:
  Histogram() = default;
  explicit Histogram(prometheus::Histogram* series) : series_(series) {}
  void Observe(double value) const;

 private:
  prometheus::Histogram* series_ = nullptr;
};

// One series per value of a closed enum, whose last enumerator is kCount.
template <class Label, class Series>
class ByLabel {
 public:
  Series& operator[](Label label) { return series_[static_cast<size_t>(label)]; }
  const Series& operator[](Label label) const { return series_[static_cast<size_t>(label)]; }

 private:
  std::array<Series, static_cast<size_t>(Label::kCount)> series_;
};

// Calls visit(label, name) for each value of the enum; `names` has one per value, which the
// compiler checks.
template <class Label, class Visit>
void ForEachLabel(const char* const (&names)[static_cast<size_t>(Label::kCount)], Visit visit) {
  for (size_t i = 0; i < static_cast<size_t>(Label::kCount); ++i) {
    visit(static_cast<Label>(i), names[i]);
  }
}

using MetricLabels = std::vector<std::pair<std::string, std::string>>;

class MetricsRegistry {
 public:
  // `role` and `model_name` label every series; tandem_build_info tells the version. The standard
  // process_* metrics are rendered too.
  MetricsRegistry(const std::string& role, const std::string& model_name,
                  const std::string& version);
  ~MetricsRegistry();
  MetricsRegistry(const MetricsRegistry&) = delete;
  MetricsRegistry& operator=(const MetricsRegistry&) = delete;

  // Returns the series with these labels, at 0 when new.
  // REQUIRES: a name keeps its type, and the labels of one name have the same keys.
  Counter AddCounter(const std::string& name, const std::string& help,
                     const MetricLabels& labels = {});
  Gauge AddGauge(const std::string& name, const std::string& help, const MetricLabels& labels = {});
  Histogram AddHistogram(const std::string& name, const std::string& help,
                         const std::vector<double>& bounds, const MetricLabels& labels = {});

  // The text exposition format, for a server that has its own HTTP front. Content type:
  // kMetricsContentType.
  std::string RenderMetrics() const;

 private:
  friend class MetricsServer;
  MetricLabels common_;
  std::shared_ptr<prometheus::Registry> registry_;
};

inline constexpr char kMetricsContentType[] = "text/plain; version=0.0.4; charset=utf-8";

// Serves GET /metrics of one registry, which must outlive it, on its own port until destroyed.
class MetricsServer {
 public:
  // Port 0 takes a free one. UNAVAILABLE when the address cannot be bound.
  static absl::StatusOr<std::unique_ptr<MetricsServer>> Start(const MetricsRegistry& registry,
                                                              const std::string& host,
                                                              uint16_t port);
  ~MetricsServer();
  uint16_t port() const { return port_; }

 private:
  MetricsServer(std::unique_ptr<prometheus::Exposer> exposer,
                std::shared_ptr<prometheus::Collectable> process, uint16_t port);
  std::shared_ptr<prometheus::Collectable> process_;  // the exposer holds a weak pointer
  std::unique_ptr<prometheus::Exposer> exposer_;
  uint16_t port_;
};

}  // namespace tandem
