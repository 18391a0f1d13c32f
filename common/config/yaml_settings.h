// A settings file: a flat YAML mapping of names to scalars or lists of scalars.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace tandem {

struct YamlSetting {
  std::string key;
  std::string value;  // of a list: the items, joined with commas
  int line = 0;       // counts from 1
};

// In the order of the file. Errors name file and line.
absl::StatusOr<std::vector<YamlSetting>> ReadYamlSettings(const std::string& path);

}  // namespace tandem
