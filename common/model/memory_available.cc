#include "common/model/memory_available.h"

#include <algorithm>
#include <fstream>
#include <optional>
#include <sstream>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace tandem {
namespace {

std::optional<std::string> ReadText(const std::string& path) {
  std::ifstream file(path);
  if (!file) return std::nullopt;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// The whole file is one number; "max" and the like are none.
std::optional<uint64_t> ReadNumber(const std::string& path) {
  const std::optional<std::string> text = ReadText(path);
  uint64_t value;
  if (!text || !absl::SimpleAtoi(absl::StripAsciiWhitespace(*text), &value)) return std::nullopt;
  return value;
}

// The number after `key` on its line: "MemAvailable:   123 kB", "inactive_file 456".
std::optional<uint64_t> FindNumber(absl::string_view text, absl::string_view key) {
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (!absl::ConsumePrefix(&line, key)) continue;
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
    uint64_t value;
    if (!words.empty() && absl::SimpleAtoi(words[0], &value)) return value;
  }
  return std::nullopt;
}

struct GroupFiles {
  const char* limit;
  const char* usage;
  const char* reclaimable;  // key in memory.stat
};
constexpr GroupFiles kVersion2 = {"memory.max", "memory.current", "inactive_file "};
constexpr GroupFiles kVersion1 = {"memory.limit_in_bytes", "memory.usage_in_bytes",
                                  "total_inactive_file "};

std::optional<uint64_t> GroupRoom(const std::string& folder, const GroupFiles& files) {
  const std::optional<uint64_t> limit = ReadNumber(absl::StrCat(folder, "/", files.limit));
  const std::optional<uint64_t> usage = ReadNumber(absl::StrCat(folder, "/", files.usage));
  if (!limit || !usage) return std::nullopt;
  const std::optional<std::string> statistics = ReadText(folder + "/memory.stat");
  // Cached file pages count as used, but the kernel drops them before it refuses memory.
  const uint64_t reclaimable =
      statistics ? FindNumber(*statistics, files.reclaimable).value_or(0) : 0;
  const uint64_t held = *usage - std::min(*usage, reclaimable);
  return *limit - std::min(*limit, held);
}

// The least room from `group` up to the mount point. Inside a container the path in /proc may not
// exist under the mount; what exists counts.
std::optional<uint64_t> LeastRoom(const std::string& mount, absl::string_view group,
                                  const GroupFiles& files) {
  std::optional<uint64_t> least;
  for (absl::string_view path = absl::StripSuffix(group, "/");;
       path = path.substr(0, path.rfind('/'))) {
    const std::optional<uint64_t> room = GroupRoom(absl::StrCat(mount, path), files);
    if (room) least = std::min(least.value_or(*room), *room);
    if (path.empty()) return least;
  }
}

std::optional<uint64_t> ControlGroupRoom(const std::string& root) {
  const std::optional<std::string> groups = ReadText(root + "/proc/self/cgroup");
  if (!groups) return std::nullopt;
  std::optional<uint64_t> least;
  for (const absl::string_view line : absl::StrSplit(*groups, '\n', absl::SkipEmpty())) {
    const std::vector<absl::string_view> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() != 3 || !absl::StartsWith(parts[2], "/")) continue;
    std::optional<uint64_t> room;
    if (parts[1].empty()) {
      room = LeastRoom(root + "/sys/fs/cgroup", parts[2], kVersion2);
    } else if (parts[1] == "memory") {
      room = LeastRoom(root + "/sys/fs/cgroup/memory", parts[2], kVersion1);
    }
    if (room) least = std::min(least.value_or(*room), *room);
  }
  return least;
}

}  // namespace

absl::StatusOr<MemoryAvailable> ReadMemoryAvailable(const std::string& root) {
  const std::optional<std::string> text = ReadText(root + "/proc/meminfo");
  const std::optional<uint64_t> kib = text ? FindNumber(*text, "MemAvailable:") : std::nullopt;
  if (!kib) return absl::UnavailableError("/proc/meminfo does not tell MemAvailable");
  MemoryAvailable result{*kib * 1024, "MemAvailable"};
  const std::optional<uint64_t> room = ControlGroupRoom(root);
  if (room && *room < result.bytes) result = {*room, "the memory limit of its control group"};
  return result;
}

std::string FormatBytes(uint64_t bytes) {
  constexpr double kMiB = 1024.0 * 1024.0;
  const double mib = static_cast<double>(bytes) / kMiB;
  return mib >= 1024 ? absl::StrFormat("%.1f GiB", mib / 1024) : absl::StrFormat("%.1f MiB", mib);
}

}  // namespace tandem
