#include "common/config/option_set.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <numeric>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "common/base/status_macros.h"
#include "common/config/version.h"
#include "common/config/yaml_settings.h"

namespace tandem {
namespace {

constexpr absl::string_view kPrefix = "TANDEM_";
// Of test harnesses and scripts, for themselves; not settings of a program.
constexpr absl::string_view kForeign[] = {"TANDEM_TEST_", "TANDEM_CACHE=", "TANDEM_LINT_CACHE="};

bool IsForeign(absl::string_view entry) {
  return std::any_of(std::begin(kForeign), std::end(kForeign),
                     [&](absl::string_view start) { return absl::StartsWith(entry, start); });
}

std::string FlagName(absl::string_view name) {
  return absl::StrCat("--", absl::StrReplaceAll(name, {{"_", "-"}}));
}

std::string VariableName(absl::string_view name) {
  return absl::StrCat(kPrefix, absl::AsciiStrToUpper(name));
}

// Insertions, deletions and changes of one character that lead from `a` to `b`.
size_t EditDistance(absl::string_view a, absl::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t change = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({change, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

std::string DidYouMean(const std::string& nearest) {
  return nearest.empty() ? "" : absl::StrCat("; did you mean ", nearest, "?");
}

absl::Status Read(const Option& option, absl::string_view source, absl::string_view value) {
  const absl::Status status = option.read(value);
  if (status.ok()) return status;
  // A secret's value is not repeated.
  const std::string shown = option.secret ? "" : absl::StrCat(" '", value, "'");
  return absl::InvalidArgumentError(
      absl::StrCat(source, ":", shown, option.secret ? " " : " is not ", status.message()));
}

}  // namespace

const Option* OptionSet::Find(absl::string_view name) const {
  for (const Option& option : options_) {
    if (option.name == name) return &option;
  }
  return nullptr;
}

std::string OptionSet::Nearest(absl::string_view name) const {
  const std::string wanted = absl::StrReplaceAll(absl::AsciiStrToLower(name), {{"-", "_"}});
  std::string nearest;
  size_t best = wanted.size() / 2 + 1;  // farther than that is no help
  for (const Option& option : options_) {
    const size_t distance = EditDistance(wanted, option.name);
    if (distance < best) {
      best = distance;
      nearest = option.name;
    }
  }
  return nearest;
}

absl::StatusOr<std::vector<OptionSet::Flag>> OptionSet::ReadFlags(
    absl::Span<const std::string> args) const {
  std::vector<Flag> flags;
  for (size_t i = 0; i < args.size(); ++i) {
    const std::string& arg = args[i];
    if (arg == "--help" || arg == "-h") {
      flags.push_back({"help", ""});
      continue;
    }
    if (arg == "--version") {
      flags.push_back({"version", ""});
      continue;
    }
    if (!absl::StartsWith(arg, "--") || arg.size() == 2) {
      return absl::InvalidArgumentError(absl::StrCat("'", arg, "' is not a flag; see --help"));
    }
    const size_t equals = arg.find('=');
    const std::string spelled = arg.substr(2, equals == std::string::npos ? equals : equals - 2);
    const std::string name = absl::StrReplaceAll(spelled, {{"-", "_"}});
    const Option* option = Find(name);
    if (name != "config" && (option == nullptr || absl::StrContains(spelled, '_'))) {
      const std::string nearest = Nearest(name);
      return absl::InvalidArgumentError(absl::StrCat(
          "unknown flag --", spelled, DidYouMean(nearest.empty() ? "" : FlagName(nearest)),
          nearest.empty() ? "; see --help" : " See --help"));
    }
    if (option != nullptr && option->secret) {
      return absl::InvalidArgumentError(
          absl::StrCat(FlagName(name),
                       ": a secret is not taken from the command line, which others can read; "
                       "use ",
                       VariableName(name), " or the file of --config"));
    }
    if (equals != std::string::npos) {
      flags.push_back({name, arg.substr(equals + 1)});
    } else if (i + 1 < args.size()) {
      flags.push_back({name, args[++i]});
    } else {
      return absl::InvalidArgumentError(absl::StrCat(arg, " needs a value"));
    }
  }
  return flags;
}

absl::Status OptionSet::ApplyFile(const std::string& path) const {
  ASSIGN_OR_RETURN(const auto settings, ReadYamlSettings(path));
  for (const YamlSetting& setting : settings) {
    const std::string source = absl::StrCat(path, ":", setting.line, ": ", setting.key);
    const Option* option = Find(setting.key);
    if (option == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat(path, ":", setting.line, ": unknown key ",
                                                     setting.key,
                                                     DidYouMean(Nearest(setting.key))));
    }
    RETURN_IF_ERROR(Read(*option, source, setting.value));
  }
  return absl::OkStatus();
}

absl::Status OptionSet::ApplyEnvironment(absl::Span<const std::string> environment) const {
  for (const std::string& entry : environment) {
    if (!absl::StartsWith(entry, kPrefix) || IsForeign(entry)) continue;
    const size_t equals = entry.find('=');
    if (equals == std::string::npos) continue;
    const std::string variable = entry.substr(0, equals);
    const std::string name = absl::AsciiStrToLower(variable.substr(kPrefix.size()));
    if (name == "config") continue;
    const Option* option = Find(name);
    if (option == nullptr) {
      const std::string nearest = Nearest(name);
      return absl::InvalidArgumentError(
          absl::StrCat("unknown environment variable ", variable,
                       DidYouMean(nearest.empty() ? "" : VariableName(nearest))));
    }
    RETURN_IF_ERROR(Read(*option, variable, entry.substr(equals + 1)));
  }
  return absl::OkStatus();
}

absl::Status OptionSet::ApplyFlags(const std::vector<Flag>& flags) const {
  // A repeated flag adds to a list and is otherwise an error, so that neither value is lost unseen.
  std::map<std::string, std::string> values;
  for (const Flag& flag : flags) {
    if (flag.name == "config") continue;
    auto [it, inserted] = values.emplace(flag.name, flag.value);
    if (inserted) continue;
    if (!absl::StrContains(Find(flag.name)->placeholder, ",...")) {
      return absl::InvalidArgumentError(absl::StrCat(FlagName(flag.name), " is given twice"));
    }
    absl::StrAppend(&it->second, ",", flag.value);
  }
  for (const auto& [name, value] : values)
    RETURN_IF_ERROR(Read(*Find(name), FlagName(name), value));
  return absl::OkStatus();
}

absl::StatusOr<std::string> OptionSet::Apply(absl::Span<const std::string> args,
                                             absl::Span<const std::string> environment) const {
  ASSIGN_OR_RETURN(const std::vector<Flag> flags, ReadFlags(args));
  std::string file;
  const std::string variable = absl::StrCat(VariableName("config"), "=");
  for (const std::string& entry : environment) {
    if (absl::StartsWith(entry, variable)) file = entry.substr(variable.size());
  }
  for (const Flag& flag : flags) {
    if (flag.name == "help") return HelpText();
    if (flag.name == "version") return absl::StrCat(program_, " ", kVersion, "\n");
    if (flag.name == "config") file = flag.value;
  }
  if (!file.empty()) RETURN_IF_ERROR(ApplyFile(file));
  RETURN_IF_ERROR(ApplyEnvironment(environment));
  RETURN_IF_ERROR(ApplyFlags(flags));
  return std::string();
}

std::string OptionSet::HelpText() const {
  std::string text = absl::StrCat(
      summary_, "\n\nUsage: ", program_, " [--flag value]...\n\n",
      "Each setting is a flag (--log-level debug), an environment variable\n"
      "(TANDEM_LOG_LEVEL=debug) or a line of the YAML file (log_level: debug). Flags win over the\n"
      "environment, which wins over the file. The value in brackets is the default.\n\n"
      "TIME is a number with us, ms, s, m or h: 250ms, 1.5m; without a unit it is in seconds.\n"
      "SIZE is a whole number with KiB, MiB or GiB: 512MiB; without a unit it is in bytes.\n\n");
  const auto line = [&](absl::string_view flag, absl::string_view help, absl::string_view preset) {
    absl::StrAppendFormat(&text, "  %-38s %s%s\n", flag, help,
                          preset.empty() ? "" : absl::StrCat(" [", preset, "]"));
  };
  line("--config FILE", "YAML file with settings.", "");
  for (const Option& option : options_) {
    line(option.secret ? VariableName(option.name)
                       : absl::StrCat(FlagName(option.name), " ", option.placeholder),
         option.help, option.default_text);
  }
  line("--help", "Prints this text.", "");
  line("--version", "Prints the version.", "");
  return text;
}

}  // namespace tandem
