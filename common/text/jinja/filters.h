// How filters are written: each is a function of a FilterCall. Internal to the interpreter.
#pragma once

#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/text/jinja/budget.h"
#include "common/text/jinja/builtins.h"
#include "common/text/jinja/value.h"

namespace tandem::jinja {

struct FilterCall {
  absl::string_view name;
  const Value& input;
  const Arguments& arguments;
  Budget& budget;
};

using FilterFunction = absl::StatusOr<Value> (*)(const FilterCall&);

// Filters over lists, dicts and other iterables, by name.
const absl::flat_hash_map<std::string, FilterFunction>& ListFilters();

}  // namespace tandem::jinja
