// The named options of one program and where their values come from. Used by config.cc only.
//
// An option has one name in snake_case; the flag, the environment variable and the key in the YAML
// file follow from it: max_queue, --max-queue, TANDEM_MAX_QUEUE. Each source is applied over the
// one before it. Thread-compatible.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace tandem {

// Reads one value into the place it was made for, or says what is expected: "a number from 1 to
// 64".
using ReadValue = std::function<absl::Status(absl::string_view text)>;

struct Option {
  std::string name;
  std::string placeholder;   // of the value, for --help: "N", "HOST:PORT,..."
  std::string help;          // one sentence
  std::string default_text;  // empty: none is shown
  ReadValue read;
  bool secret = false;  // never a flag: command lines are public on a machine
};

class OptionSet {
 public:
  // `program` and `summary` head the --help text.
  OptionSet(std::string program, std::string summary)
      : program_(std::move(program)), summary_(std::move(summary)) {}

  void Add(Option option) { options_.push_back(std::move(option)); }

  // Applies the file named by --config or TANDEM_CONFIG, then the environment, then the flags.
  // Returns the text to print and end with, when --help or --version is among the flags; else an
  // empty string.
  absl::StatusOr<std::string> Apply(absl::Span<const std::string> args,
                                    absl::Span<const std::string> environment) const;

 private:
  struct Flag {
    std::string name;  // in snake_case
    std::string value;
  };

  absl::StatusOr<std::vector<Flag>> ReadFlags(absl::Span<const std::string> args) const;
  absl::Status ApplyFile(const std::string& path) const;
  absl::Status ApplyEnvironment(absl::Span<const std::string> environment) const;
  absl::Status ApplyFlags(const std::vector<Flag>& flags) const;
  const Option* Find(absl::string_view name) const;
  // The known name that is nearest to `name`, or empty when none is near.
  std::string Nearest(absl::string_view name) const;
  std::string HelpText() const;

  std::string program_;
  std::string summary_;
  std::vector<Option> options_;
};

}  // namespace tandem
