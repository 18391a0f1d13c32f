// How much memory this process can still take: the smaller of what the machine has left and what
// its control groups (containers, Kubernetes limits) allow. Reads /proc and /sys; any thread.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace tandem {

struct MemoryAvailable {
  uint64_t bytes = 0;
  std::string limited_by;  // "MemAvailable" or "the memory limit of its control group"
};

// `root` stands in for the file system's root in tests. Fails only without a readable
// /proc/meminfo; control groups that cannot be read do not limit.
absl::StatusOr<MemoryAvailable> ReadMemoryAvailable(const std::string& root = "");

// "1.5 GiB", "23.0 MiB".
std::string FormatBytes(uint64_t bytes);

}  // namespace tandem
