// Coverage: how often a run, or all runs, came by the places that faults are for. A simulation that
// never preempts says nothing about preemption. Plain counts by name.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "common/transfer/transfer_counters.h"
#include "decode_worker/core/decode_core.h"
#include "prefill_worker/core/prefill_core.h"
#include "router/core/router_events.h"

namespace tandem::sim {

class Coverage {
 public:
  void Add(const std::string& name, uint64_t count) {
    if (count > 0) counts_[name] += count;
  }
  void Add(const DecodeCounters& decode);
  void Add(const PrefillCounters& prefill);
  void Add(const TransferCounters& transfer);
  void Add(const RouterStats& router);

  const std::map<std::string, uint64_t>& counts() const { return counts_; }

 private:
  std::map<std::string, uint64_t> counts_;
};

}  // namespace tandem::sim
