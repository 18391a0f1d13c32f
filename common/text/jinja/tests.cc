// The tests: {{ value is name }}.

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/text/jinja/builtins.h"
#include "common/text/jinja/operators.h"
#include "common/text/jinja/python_text.h"

namespace tandem::jinja {
namespace {

using TestFunction = bool (*)(const Value&);

bool IsNumber(const Value& v) {
  return v.is(Value::kInt) || v.is(Value::kFloat) || v.is(Value::kBool);
}

bool IsSequence(const Value& v) {
  return v.is(Value::kText) || v.is(Value::kDict) || v.is(Value::kUndefined) ||
         (v.is(Value::kList) && v.list().flavor <= List::kTuple);
}

const absl::flat_hash_map<std::string, TestFunction>& PlainTests() {
  static const auto& tests = *new absl::flat_hash_map<std::string, TestFunction>{
      {"defined", [](const Value& v) { return !v.is(Value::kUndefined); }},
      {"undefined", [](const Value& v) { return v.is(Value::kUndefined); }},
      {"none", [](const Value& v) { return v.is(Value::kNone); }},
      {"string", [](const Value& v) { return v.is(Value::kText); }},
      {"mapping", [](const Value& v) { return v.is(Value::kDict); }},
      {"number", IsNumber},
      {"integer", [](const Value& v) { return v.is(Value::kInt); }},
      {"float", [](const Value& v) { return v.is(Value::kFloat); }},
      {"boolean", [](const Value& v) { return v.is(Value::kBool); }},
      {"true", [](const Value& v) { return v.is(Value::kBool) && v.bool_value(); }},
      {"false", [](const Value& v) { return v.is(Value::kBool) && !v.bool_value(); }},
      {"sequence", IsSequence},
      {"iterable", [](const Value& v) { return IsSequence(v) || v.is(Value::kList); }},
      {"callable", [](const Value& v) { return v.is(Value::kCallable); }},
  };
  return tests;
}

// Tests with one argument that are operators by another name.
const absl::flat_hash_map<std::string, std::string>& OperatorTests() {
  static const auto& tests = *new absl::flat_hash_map<std::string, std::string>{
      {"equalto", "=="},    {"eq", "=="}, {"ne", "!="}, {"lt", "<"},
      {"lessthan", "<"},    {"le", "<="}, {"gt", ">"},  {"ge", ">="},
      {"greaterthan", ">"}, {"in", "in"}, {"==", "=="}, {"!=", "!="},
      {"<", "<"},           {"<=", "<="}, {">", ">"},   {">=", ">="},
  };
  return tests;
}

bool IsIntegerTest(absl::string_view name) {
  return name == "odd" || name == "even" || name == "divisibleby";
}

bool IsCaseTest(absl::string_view name) { return name == "lower" || name == "upper"; }

absl::StatusOr<bool> IntegerTest(absl::string_view name, const Value& input, const Value* divisor,
                                 Budget& budget) {
  const Value by = divisor != nullptr ? *divisor : Value::Int(2);
  ASSIGN_OR_RETURN(const Value remainder, Arithmetic("%", input, by, budget));
  return AreEqual(remainder, Value::Int(name == "odd" ? 1 : 0), budget);
}

// str.islower() or str.isupper() of the value's text.
absl::StatusOr<bool> CaseTest(bool upper, const Value& input, Budget& budget) {
  ASSIGN_OR_RETURN(const TrackedText text, ToText(input, budget));
  const std::string as_upper = ChangeCase(text, LetterCase::kUpper).bytes();
  const std::string as_lower = ChangeCase(text, LetterCase::kLower).bytes();
  return as_upper != as_lower && text.bytes() == (upper ? as_upper : as_lower);
}

}  // namespace

bool IsTest(absl::string_view name) {
  return PlainTests().contains(name) || OperatorTests().contains(name) || IsIntegerTest(name) ||
         IsCaseTest(name);
}

absl::StatusOr<bool> ApplyTest(absl::string_view name, const Value& input,
                               const Arguments& arguments, Budget& budget) {
  const bool has_argument = OperatorTests().contains(name) || name == "divisibleby";
  if (!arguments.named.empty() || arguments.positional.size() != (has_argument ? 1u : 0u)) {
    return TypeError(
        absl::StrCat("the test ", name, " takes ", has_argument ? "one argument" : "no arguments"));
  }
  if (const auto plain = PlainTests().find(name); plain != PlainTests().end()) {
    return plain->second(input);
  }
  if (const auto op = OperatorTests().find(name); op != OperatorTests().end()) {
    return Compare(op->second, input, arguments.positional[0], budget);
  }
  if (IsCaseTest(name)) return CaseTest(name == "upper", input, budget);
  return IntegerTest(name, input, has_argument ? &arguments.positional[0] : nullptr, budget);
}

}  // namespace tandem::jinja
