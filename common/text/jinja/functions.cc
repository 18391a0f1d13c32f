// The functions that every template has.

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/text/jinja/interpreter.h"
#include "common/text/jinja/operators.h"

namespace tandem::jinja {
namespace {

constexpr int64_t kMaxRange = 100'000;  // as in Jinja's sandbox

absl::StatusOr<Value> Range(const Arguments& arguments, Budget& budget) {
  std::vector<int64_t> numbers;
  for (const Value& value : arguments.positional) {
    const auto integer = AsInteger(value);
    if (!integer) return TypeError("range() takes integers");
    numbers.push_back(*integer);
  }
  if (numbers.empty() || numbers.size() > 3 || !arguments.named.empty()) {
    return TypeError("range() takes one to three integers");
  }
  const int64_t start = numbers.size() > 1 ? numbers[0] : 0;
  const int64_t stop = numbers.size() > 1 ? numbers[1] : numbers[0];
  const int64_t step = numbers.size() > 2 ? numbers[2] : 1;
  if (step == 0) return TypeError("range() needs a step other than zero");
  List list;
  for (int64_t i = start; step > 0 ? i < stop : i > stop;) {
    if (static_cast<int64_t>(list.items.size()) >= kMaxRange)
      return TypeError("range() is too long");
    list.items.push_back(Value::Int(i));
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  RETURN_IF_ERROR(budget.Build(list.items.size() * sizeof(Value)));
  return Value::MakeList(std::move(list));
}

// The entries of dict(...) and namespace(...): a mapping first, then named arguments.
absl::StatusOr<Dict> Entries(const Arguments& arguments, Budget& budget) {
  Dict dict;
  if (arguments.positional.size() > 1) return TypeError("more than one positional argument");
  if (!arguments.positional.empty()) {
    if (!arguments.positional[0].is(Value::kDict)) return TypeError("the argument is no mapping");
    RETURN_IF_ERROR(
        budget.Build(arguments.positional[0].dict().entries().size() * sizeof(Dict::Entry)));
    dict = arguments.positional[0].dict();
  }
  for (const auto& [name, value] : arguments.named) {
    if (!value.is_plain()) {
      return absl::UnimplementedError(
          absl::StrCat("a ", TypeName(value), " in a namespace or dict is not supported"));
    }
    dict.Set(TrackedText(name, /*trusted=*/true), value);
  }
  return dict;
}

absl::StatusOr<Value> MakeNamespace(const Arguments& arguments, Budget& budget) {
  ASSIGN_OR_RETURN(const Dict dict, Entries(arguments, budget));
  auto ns = std::make_shared<Namespace>();
  for (const Dict::Entry& entry : dict.entries()) ns->attributes[entry.key.bytes()] = entry.value;
  return Value::Shared(std::move(ns));
}

}  // namespace

bool IsFunction(absl::string_view name) {
  return name == "range" || name == "namespace" || name == "dict" || name == "raise_exception" ||
         name == "strftime_now";
}

absl::StatusOr<Value> Interpreter::CallFunction(absl::string_view name,
                                                const Arguments& arguments) {
  if (name == "range") return Range(arguments, budget_);
  if (name == "namespace") return MakeNamespace(arguments, budget_);
  if (name == "dict") {
    ASSIGN_OR_RETURN(Dict dict, Entries(arguments, budget_));
    return Value::MakeDict(std::move(dict));
  }
  if (arguments.positional.size() != 1 || !arguments.named.empty() ||
      !arguments.positional[0].is(Value::kText)) {
    return TypeError(absl::StrCat(name, "() takes a string"));
  }
  const std::string& text = arguments.positional[0].text().bytes();
  if (name == "strftime_now") {
    return Value::Text(TrackedText(absl::FormatTime(text, now_, time_zone_),
                                   arguments.positional[0].text().trusted()));
  }
  error_located_ = true;  // the template's own message says what is wrong with the conversation
  return absl::InvalidArgumentError(text);
}

}  // namespace tandem::jinja
