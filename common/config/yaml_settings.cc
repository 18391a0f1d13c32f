#include "common/config/yaml_settings.h"

#include <yaml-cpp/yaml.h>

#include <fstream>
#include <iterator>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace tandem {
namespace {

constexpr size_t kMaxFileBytes = 1 << 20;

absl::StatusOr<std::vector<YamlSetting>> Flatten(const std::string& path, const YAML::Node& root) {
  std::vector<YamlSetting> settings;
  if (root.IsNull()) return settings;  // an empty file
  const auto error = [&](const YAML::Node& node, absl::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat(path, ":", node.Mark().line + 1, ": ", what));
  };
  if (!root.IsMap()) return error(root, "not a mapping of names to values");
  std::set<std::string> seen;
  for (const auto& entry : root) {
    if (!entry.first.IsScalar()) return error(entry.first, "a name is expected");
    YamlSetting setting{
        .key = entry.first.Scalar(), .value = "", .line = entry.first.Mark().line + 1};
    if (!seen.insert(setting.key).second)
      return error(entry.first, setting.key + " is given twice");
    if (entry.second.IsScalar()) {
      setting.value = entry.second.Scalar();
    } else if (entry.second.IsSequence()) {
      std::vector<std::string> items;
      for (const auto& item : entry.second) {
        if (!item.IsScalar())
          return error(item, setting.key + ": a list of plain values is expected");
        items.push_back(item.Scalar());
      }
      setting.value = absl::StrJoin(items, ",");
    } else if (entry.second.IsNull()) {
      continue;  // "name:" keeps the default
    } else {
      return error(entry.second, setting.key + ": a plain value or a list is expected");
    }
    settings.push_back(std::move(setting));
  }
  return settings;
}

}  // namespace

absl::StatusOr<std::vector<YamlSetting>> ReadYamlSettings(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::string text;
  try {  // a folder opens, and throws when it is read
    if (in) text.assign(std::istreambuf_iterator<char>(in), {});
  } catch (const std::ios_base::failure&) {
    in.setstate(std::ios::badbit);
  }
  if (!in) return absl::NotFoundError(absl::StrCat(path, ": cannot be read"));
  if (text.size() > kMaxFileBytes) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": longer than 1 MiB"));
  }
  try {
    return Flatten(path, YAML::Load(text));
  } catch (const YAML::Exception& e) {
    return absl::InvalidArgumentError(absl::StrCat(path, ":", e.mark.line + 1, ": ", e.msg));
  }
}

}  // namespace tandem
