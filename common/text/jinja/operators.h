// What Python's operators do with values: truth, equality, order, arithmetic, membership,
// subscripts and conversion to text. Errors are INVALID_ARGUMENT, as Python would raise a
// TypeError, or Jinja an UndefinedError.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/text/jinja/budget.h"
#include "common/text/jinja/value.h"

namespace tandem::jinja {

bool IsTrue(const Value& value);
absl::StatusOr<bool> AreEqual(const Value& a, const Value& b, Budget& budget);
// `op` is one of == != < <= > >= in "not in".
absl::StatusOr<bool> Compare(absl::string_view op, const Value& a, const Value& b, Budget& budget);
// `op` is one of + - * / // %.
absl::StatusOr<Value> Arithmetic(absl::string_view op, const Value& a, const Value& b,
                                 Budget& budget);
absl::StatusOr<Value> Negate(const Value& value);

// str(): what an output tag writes. Undefined gives nothing.
absl::StatusOr<TrackedText> ToText(const Value& value, Budget& budget);
// repr(); untrusted when any text inside is.
absl::StatusOr<TrackedText> Repr(const Value& value, Budget& budget);

absl::StatusOr<int64_t> Length(const Value& value);
// What iterating over `value` gives.
absl::StatusOr<std::vector<Value>> Iterate(const Value& value, Budget& budget);

// a[b] and a.b; undefined where there is no such item.
absl::StatusOr<Value> GetItem(const Value& target, const Value& index, Budget& budget);
absl::StatusOr<Value> GetAttribute(const Value& target, absl::string_view name);
struct SliceBounds {
  std::optional<int64_t> start, stop, step;
};
absl::StatusOr<Value> GetSlice(const Value& target, const SliceBounds& bounds, Budget& budget);

// As an integer: ints and bools only.
std::optional<int64_t> AsInteger(const Value& value);
absl::Status TypeError(absl::string_view what);
absl::Status UndefinedError(const Value& undefined);

}  // namespace tandem::jinja
