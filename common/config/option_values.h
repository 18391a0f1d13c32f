// How the text of a setting becomes a value. Each function returns a reader for one place; its
// error is what was expected, to follow "'...' is not ".
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "common/config/config.h"
#include "common/config/option_set.h"

namespace tandem {

ReadValue IntoText(std::string* out);
ReadValue IntoPort(uint16_t* out);
ReadValue IntoCount(uint32_t* out, uint32_t low, uint32_t high);
// "1048576", "4MiB", "2GiB", "512KiB".
ReadValue IntoBytes(uint64_t* out, uint64_t low, uint64_t high);
// "600", "600s", "500ms", "2m", "1.5s".
ReadValue IntoDuration(Duration* out, Duration low, Duration high);
ReadValue IntoAddresses(std::vector<HostPort>* out);

// One of a few words.
template <class Enum>
ReadValue IntoChoice(Enum* out, std::vector<std::pair<std::string, Enum>> choices) {
  return [=](absl::string_view text) {
    std::string expected;
    for (const auto& [word, value] : choices) {
      if (text == word) {
        *out = value;
        return absl::OkStatus();
      }
      expected += (expected.empty() ? "" : ", ") + word;
    }
    return absl::InvalidArgumentError("one of " + expected);
  };
}

// The other way, for --help.
std::string BytesText(uint64_t bytes);
std::string DurationText(Duration duration);

}  // namespace tandem
