#include "tests/sim/switches.h"

namespace tandem {
namespace {

std::optional<Protection> switched_off;

}  // namespace

bool Enabled(Protection protection) { return switched_off != protection; }

namespace sim {

const char* ProtectionName(Protection protection) {
  switch (protection) {
    case Protection::kEpochFence:
      return "epoch-fence";
    case Protection::kGenerationCheck:
      return "generation-check";
    case Protection::kChecksum:
      return "checksum";
    case Protection::kQuarantine:
      return "quarantine";
    case Protection::kAttemptRevocation:
      return "attempt-revocation";
    case Protection::kDeadlines:
      return "deadlines";
  }
  return "?";
}

std::optional<Protection> FindProtection(absl::string_view name) {
  for (int i = 0; i < kNumProtections; ++i) {
    const auto protection = static_cast<Protection>(i);
    if (name == ProtectionName(protection)) return protection;
  }
  return std::nullopt;
}

void SwitchOff(Protection protection) { switched_off = protection; }

}  // namespace sim
}  // namespace tandem
