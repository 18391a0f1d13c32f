#include "router/openai/field_reader.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"

namespace tandem {
namespace {

const char* TypeName(const Json& value) {
  if (value.is_string()) return "a string";
  if (value.is_boolean()) return "a boolean";
  if (value.is_number_integer()) return "an integer";
  if (value.is_number()) return "a number";
  if (value.is_array()) return "a list";
  if (value.is_object()) return "an object";
  return "null";
}

// Brackets and colons outside strings: counted before parsing, so that what is refused costs
// nothing but this pass. Says what is too large; empty when nothing is.
std::string BeyondLimits(absl::string_view text, size_t max_depth, size_t max_members) {
  std::vector<size_t> members;  // of each object or list that is open
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      members.push_back(0);
      if (members.size() > max_depth) {
        return absl::StrCat("the JSON body is nested deeper than ", max_depth, " levels");
      }
    } else if ((c == ']' || c == '}') && !members.empty()) {
      members.pop_back();
    } else if (c == ':' && !members.empty() && ++members.back() > max_members) {
      return absl::StrCat("an object in the JSON body has more than ", max_members, " members");
    }
  }
  return "";
}

}  // namespace

Parsed<Json> ParseJsonObject(absl::string_view body, size_t max_depth, size_t max_members) {
  if (std::string excess = BeyondLimits(body, max_depth, max_members); !excess.empty()) {
    return BadRequest(std::move(excess));
  }
  try {
    Json json = Json::parse(body.begin(), body.end());
    if (!json.is_object()) {
      return BadRequest(absl::StrCat("the body must be a JSON object, not ", TypeName(json)));
    }
    return json;
  } catch (const Json::parse_error& e) {
    return BadRequest(absl::StrCat("the body is not valid JSON (at byte ", e.byte, ")"));
  } catch (const Json::exception&) {
    return BadRequest("the body is not valid JSON (a number is out of range)");
  }
}

const Json* FieldReader::Get(const char* name) const {
  auto it = object_.find(name);
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

bool FieldReader::Bool(const char* name, bool fallback) {
  const Json* value = Get(name);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) {
    Fail(absl::StrCat(name, " must be a boolean, not ", TypeName(*value)), name);
    return fallback;
  }
  return value->get<bool>();
}

std::optional<int64_t> FieldReader::Int(const char* name, int64_t min, int64_t max) {
  const Json* value = Get(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number_integer()) {
    Fail(absl::StrCat(name, " must be an integer, not ", TypeName(*value)), name);
    return std::nullopt;
  }
  const bool too_big = value->is_number_unsigned() &&
                       value->get<uint64_t>() > uint64_t{std::numeric_limits<int64_t>::max()};
  const int64_t number = too_big ? 0 : value->get<int64_t>();
  if (too_big || number < min || number > max) {
    Fail(absl::StrCat(name, " must be from ", min, " to ", max, ", not ", value->dump()), name);
    return std::nullopt;
  }
  return number;
}

std::optional<double> FieldReader::Number(const char* name, double min, double max) {
  const Json* value = Get(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) {
    Fail(absl::StrCat(name, " must be a number, not ", TypeName(*value)), name);
    return std::nullopt;
  }
  const double number = value->get<double>();
  if (!(number >= min && number <= max)) {
    Fail(absl::StrCat(name, " must be from ", min, " to ", max, ", not ", value->dump()), name);
    return std::nullopt;
  }
  return number;
}

std::optional<std::string> FieldReader::String(const char* name) {
  const Json* value = Get(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) {
    Fail(absl::StrCat(name, " must be a string, not ", TypeName(*value)), name);
    return std::nullopt;
  }
  return value->get<std::string>();
}

std::vector<TokenId> FieldReader::Tokens(const char* name, const Json& list, size_t vocab_size) {
  std::vector<TokenId> tokens;
  if (!list.is_array()) {
    Fail(absl::StrCat(name, " must be a list of token ids, not ", TypeName(list)), name);
    return tokens;
  }
  tokens.reserve(list.size());
  for (const Json& item : list) {
    if (!item.is_number_integer()) {
      Fail(absl::StrCat(name, " must hold integers only, not ", TypeName(item)), name);
      return {};
    }
    // A negative number is stored signed, so its unsigned value is beyond any vocabulary.
    const uint64_t id = item.is_number_unsigned() ? item.get<uint64_t>()
                                                  : static_cast<uint64_t>(item.get<int64_t>());
    if (id >= vocab_size) {
      Fail(absl::StrCat(name, " holds ", item.dump(), ", which is outside the vocabulary of ",
                        vocab_size, " tokens"),
           name);
      return {};
    }
    tokens.push_back(static_cast<TokenId>(id));
  }
  return tokens;
}

void FieldReader::RefuseUnless(bool neutral, const char* name) {
  if (!neutral) Fail(absl::StrCat(name, " is not supported with this value"), name);
}

void FieldReader::RefuseNumberOtherThan(const char* name, double neutral) {
  const Json* value = Get(name);
  if (value == nullptr) return;
  if (!value->is_number()) {
    Fail(absl::StrCat(name, " must be a number, not ", TypeName(*value)), name);
    return;
  }
  if (value->get<double>() != neutral) {
    Fail(absl::StrCat(name, " is not supported; only ", neutral, " is, which changes nothing"),
         name);
  }
}

void FieldReader::RefuseNonEmpty(const char* name) {
  const Json* value = Get(name);
  if (value == nullptr) return;
  bool neutral = false;
  if (value->is_boolean()) neutral = !value->get<bool>();
  if (value->is_number()) neutral = value->get<double>() == 0;
  if (value->is_string()) neutral = value->get_ref<const std::string&>().empty();
  if (value->is_array() || value->is_object()) neutral = value->empty();
  if (!neutral) Fail(absl::StrCat(name, " is not supported"), name);
}

void FieldReader::Fail(std::string message, const char* name) {
  if (!error_.has_value()) error_ = BadRequest(std::move(message), name);
}

}  // namespace tandem
