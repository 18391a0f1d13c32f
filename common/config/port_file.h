// How a program that listens on port 0 says which port it got.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace tandem {

// Writes "`port`\n" to `path`; a reader sees either no file or the whole number. Nothing happens
// when `path` is empty.
absl::Status WritePortFile(const std::string& path, uint16_t port);

}  // namespace tandem
