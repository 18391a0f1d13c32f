// Which protection is switched off in this process: the definition behind common/base/protection.h
// in the simulation's copy of the cores. Set once, before the first run.
#pragma once

#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "common/base/protection.h"

namespace tandem::sim {

const char* ProtectionName(Protection protection);
std::optional<Protection> FindProtection(absl::string_view name);

void SwitchOff(Protection protection);

}  // namespace tandem::sim
