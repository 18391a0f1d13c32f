// JSON in and out of the interpreter: what a request holds becomes values, and tojson writes values
// as Python's json.dumps(ensure_ascii=False) does.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "common/text/jinja/budget.h"
#include "common/text/jinja/value.h"
#include "nlohmann/json.hpp"

namespace tandem::jinja {

// All text in the result is untrusted; ill-formed UTF-8 becomes U+FFFD. RESOURCE_EXHAUSTED when it
// is nested too deeply or too large, INVALID_ARGUMENT for an integer above 64 bits.
absl::StatusOr<Value> ValueFromJson(const nlohmann::ordered_json& json, Budget& budget);

struct JsonStyle {
  std::optional<int64_t> indent;  // spaces per level; none: all in one line
  TrackedText item_separator{", ", true}, key_separator{": ", true};
  bool sort_keys = false;
  bool ascii_only = false;
};

// Untrusted as a whole when any text inside or a separator is. INVALID_ARGUMENT for a value that
// JSON cannot show.
absl::StatusOr<TrackedText> ToJson(const Value& value, const JsonStyle& style, Budget& budget);

}  // namespace tandem::jinja
