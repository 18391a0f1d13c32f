// The filters, tests, methods and functions that templates can use. Which names exist is asked by
// the parser; what they do is asked by the interpreter. Results keep the origin of the text they
// are made from. Errors are INVALID_ARGUMENT for values that do not fit.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/text/jinja/budget.h"
#include "common/text/jinja/value.h"

namespace tandem::jinja {

bool IsFilter(absl::string_view name);
bool IsTest(absl::string_view name);
bool IsMethod(absl::string_view name);    // callable on a string, list, dict or loop
bool IsFunction(absl::string_view name);  // always there: range, namespace, ...

// The arguments of a call, without the value that it is applied to.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;

  // Argument `position`, or the one that is called `name`; null when absent.
  const Value* Find(size_t position, absl::string_view name) const;
  // INVALID_ARGUMENT when there are more than `names`, a name is not among them, or given twice.
  absl::Status Check(absl::string_view what, absl::Span<const absl::string_view> names) const;
};

absl::StatusOr<Value> ApplyFilter(absl::string_view name, const Value& input,
                                  const Arguments& arguments, Budget& budget);
absl::StatusOr<bool> ApplyTest(absl::string_view name, const Value& input,
                               const Arguments& arguments, Budget& budget);
absl::StatusOr<Value> CallMethod(absl::string_view name, const Value& receiver,
                                 const Arguments& arguments, Budget& budget);

// The method `name` of `receiver` as a value; null when that type has no such method.
std::optional<Value> BindMethod(absl::string_view name, const Value& receiver);

}  // namespace tandem::jinja
