#include "common/telemetry/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/exposer.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <exception>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/telemetry/process_metrics.h"

namespace tandem {
namespace {

prometheus::Labels Merge(const MetricLabels& common, const MetricLabels& own) {
  prometheus::Labels labels(own.begin(), own.end());
  labels.insert(common.begin(), common.end());
  return labels;
}

std::string BindAddress(const std::string& host, uint16_t port) {
  return host.find(':') == std::string::npos ? absl::StrCat(host, ":", port)
                                             : absl::StrCat("[", host, "]:", port);
}

}  // namespace

void Counter::Add(double amount) const {
  if (series_ != nullptr) series_->Increment(amount);
}

void Counter::SetTotal(uint64_t total) const {
  const double more = static_cast<double>(total) - Value();
  if (more > 0) Add(more);
}

double Counter::Value() const { return series_ == nullptr ? 0 : series_->Value(); }

void Gauge::Set(double value) const {
  if (series_ != nullptr) series_->Set(value);
}

void Gauge::Add(double amount) const {
  if (series_ != nullptr) series_->Increment(amount);
}

double Gauge::Value() const { return series_ == nullptr ? 0 : series_->Value(); }

void Histogram::Observe(double value) const {
  if (series_ != nullptr) series_->Observe(value);
}

MetricsRegistry::MetricsRegistry(const std::string& role, const std::string& model_name,
                                 const std::string& version)
    : common_{{"role", role}, {"model_name", model_name}},
      registry_(std::make_shared<prometheus::Registry>()) {
  AddGauge("tandem_build_info", "Always 1; the labels say what runs.", {{"version", version}})
      .Set(1);
}

MetricsRegistry::~MetricsRegistry() = default;

Counter MetricsRegistry::AddCounter(const std::string& name, const std::string& help,
                                    const MetricLabels& labels) {
  auto& family = prometheus::BuildCounter().Name(name).Help(help).Register(*registry_);
  return Counter(&family.Add(Merge(common_, labels)));
}

Gauge MetricsRegistry::AddGauge(const std::string& name, const std::string& help,
                                const MetricLabels& labels) {
  auto& family = prometheus::BuildGauge().Name(name).Help(help).Register(*registry_);
  return Gauge(&family.Add(Merge(common_, labels)));
}

Histogram MetricsRegistry::AddHistogram(const std::string& name, const std::string& help,
                                        const std::vector<double>& bounds,
                                        const MetricLabels& labels) {
  auto& family = prometheus::BuildHistogram().Name(name).Help(help).Register(*registry_);
  return Histogram(&family.Add(Merge(common_, labels), bounds));
}

std::string MetricsRegistry::RenderMetrics() const {
  std::vector<prometheus::MetricFamily> families = registry_->Collect();
  for (prometheus::MetricFamily& family : ProcessMetrics().Collect()) {
    families.push_back(std::move(family));
  }
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, families);
  return out.str();
}

absl::StatusOr<std::unique_ptr<MetricsServer>> MetricsServer::Start(const MetricsRegistry& registry,
                                                                    const std::string& host,
                                                                    uint16_t port) {
  const std::string address = BindAddress(host, port);
  try {
    auto exposer = std::make_unique<prometheus::Exposer>(address, /*num_threads=*/1);
    exposer->RegisterCollectable(registry.registry_);
    auto process = std::make_shared<ProcessMetrics>();
    exposer->RegisterCollectable(process);
    const std::vector<int> ports = exposer->GetListeningPorts();
    if (ports.empty())
      return absl::UnavailableError(absl::StrCat("metrics: cannot listen on ", address));
    return std::unique_ptr<MetricsServer>(
        new MetricsServer(std::move(exposer), std::move(process), static_cast<uint16_t>(ports[0])));
  } catch (const std::exception&) {  // the library says only that it could not start
    return absl::UnavailableError(absl::StrCat("metrics: cannot listen on ", address,
                                               ": the port is busy or the address is not ours"));
  }
}

MetricsServer::MetricsServer(std::unique_ptr<prometheus::Exposer> exposer,
                             std::shared_ptr<prometheus::Collectable> process, uint16_t port)
    : process_(std::move(process)), exposer_(std::move(exposer)), port_(port) {}

MetricsServer::~MetricsServer() = default;

}  // namespace tandem
