// The filters {{ value | name }} that look at one value. Those over lists: list_filters.cc.

#include "common/text/jinja/filters.h"

#include <cmath>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/text/jinja/json_text.h"
#include "common/text/jinja/operators.h"
#include "common/text/jinja/python_text.h"

namespace tandem::jinja {
namespace {

absl::StatusOr<Value> Trim(const FilterCall& call) {
  RETURN_IF_ERROR(call.arguments.Check(call.name, {"chars"}));
  ASSIGN_OR_RETURN(const TrackedText text, ToText(call.input, call.budget));
  const Value* chars = call.arguments.Find(0, "chars");
  if (chars == nullptr || chars->is(Value::kNone)) {
    return Value::Text(Strip(text, std::nullopt, true, true));
  }
  if (!chars->is(Value::kText)) return TypeError("trim takes a string");
  return Value::Text(Strip(text, chars->text().bytes(), true, true));
}

absl::StatusOr<Value> ToCase(const FilterCall& call) {
  RETURN_IF_ERROR(call.arguments.Check(call.name, {}));
  ASSIGN_OR_RETURN(const TrackedText text, ToText(call.input, call.budget));
  return Value::Text(ChangeCase(text, call.name == "upper"   ? LetterCase::kUpper
                                      : call.name == "lower" ? LetterCase::kLower
                                                             : LetterCase::kCapitalize));
}

// Unlike str.title(), words begin after spaces, hyphens and opening brackets only.
absl::StatusOr<Value> Title(const FilterCall& call) {
  RETURN_IF_ERROR(call.arguments.Check(call.name, {}));
  ASSIGN_OR_RETURN(const TrackedText text, ToText(call.input, call.budget));
  TrackedText out;
  bool begins_word = true;
  for (const TrackedText& c : Characters(text)) {
    const bool separates = StripLeft(c.view()).empty() ||
                           absl::string_view("-({[<").find(c.view()) != absl::string_view::npos;
    out.Append(ChangeCase(c, begins_word ? LetterCase::kUpper : LetterCase::kLower));
    begins_word = separates;
  }
  return Value::Text(std::move(out));
}

absl::StatusOr<Value> Replace(const FilterCall& call) {
  RETURN_IF_ERROR(call.arguments.Check(call.name, {"old", "new", "count"}));
  ASSIGN_OR_RETURN(TrackedText text, ToText(call.input, call.budget));
  return CallMethod("replace", Value::Text(std::move(text)), call.arguments, call.budget);
}

absl::StatusOr<Value> Indent(const FilterCall& call) {
  RETURN_IF_ERROR(call.arguments.Check(call.name, {"width", "first", "blank"}));
  ASSIGN_OR_RETURN(TrackedText text, ToText(call.input, call.budget));
  const Value* width = call.arguments.Find(0, "width");
  const Value* first = call.arguments.Find(1, "first");
  const Value* blank = call.arguments.Find(2, "blank");
  TrackedText indentation;
  if (width != nullptr && width->is(Value::kText)) {
    indentation = width->text();
  } else {
    const auto spaces = width == nullptr ? int64_t{4} : AsInteger(*width);
    if (!spaces || *spaces > 1000) return TypeError("indent takes a small number of spaces");
    indentation.Append(std::string(static_cast<size_t>(std::max<int64_t>(*spaces, 0)), ' '), true);
  }
  text.Append("\n", true);
  const std::vector<TrackedText> lines = SplitLines(text, /*keep_ends=*/false);
  RETURN_IF_ERROR(
      call.budget.Build(text.size() + lines.size() * (indentation.size() + sizeof(TrackedText))));
  TrackedText out;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out.Append("\n", true);
    const bool indented = i == 0 ? first != nullptr && IsTrue(*first)
                                 : !lines[i].empty() || (blank != nullptr && IsTrue(*blank));
    if (indented) out.Append(indentation);
    out.Append(lines[i]);
  }
  return Value::Text(std::move(out));
}

absl::StatusOr<Value> Default(const FilterCall& call) {
  RETURN_IF_ERROR(call.arguments.Check(call.name, {"default_value", "boolean"}));
  const Value* otherwise = call.arguments.Find(0, "default_value");
  const Value* boolean = call.arguments.Find(1, "boolean");
  const bool absent = call.input.is(Value::kUndefined) ||
                      (boolean != nullptr && IsTrue(*boolean) && !IsTrue(call.input));
  if (!absent) return call.input;
  return otherwise != nullptr ? *otherwise : Value::Trusted("");
}

absl::StatusOr<Value> ToString(const FilterCall& call) {
  RETURN_IF_ERROR(call.arguments.Check(call.name, {}));
  ASSIGN_OR_RETURN(TrackedText text, ToText(call.input, call.budget));
  return Value::Text(std::move(text));
}

// Python's numbers may have single underscores between digits; the rest is as in C.
bool ParseNumber(absl::string_view text, double& number) {
  std::string digits(StripRight(StripLeft(text)));
  for (size_t i = digits.find('_'); i != std::string::npos; i = digits.find('_', i)) {
    const auto is_digit = [&](size_t j) {
      return j < digits.size() && digits[j] >= '0' && digits[j] <= '9';
    };
    if (i == 0 || !is_digit(i - 1) || !is_digit(i + 1)) return false;
    digits.erase(i, 1);
  }
  return digits.find_first_of("xX") == std::string::npos && absl::SimpleAtod(digits, &number);
}

absl::StatusOr<Value> ToInteger(const FilterCall& call) {
  RETURN_IF_ERROR(call.arguments.Check(call.name, {"default"}));
  const Value* otherwise = call.arguments.Find(0, "default");
  const Value fallback = otherwise != nullptr ? *otherwise : Value::Int(0);
  if (const auto integer = AsInteger(call.input)) return Value::Int(*integer);
  double number = 0;
  if (call.input.is(Value::kText)) {
    int64_t integer = 0;
    if (absl::SimpleAtoi(StripRight(StripLeft(call.input.text().view())), &integer)) {
      return Value::Int(integer);
    }
    if (!ParseNumber(call.input.text().view(), number)) return fallback;
  } else if (call.input.is(Value::kFloat)) {
    number = call.input.float_value();
  } else if (call.input.is(Value::kUndefined)) {
    return UndefinedError(call.input);
  } else {
    return fallback;
  }
  if (!std::isfinite(number)) return fallback;
  if (std::fabs(number) >= 9.2e18) return TypeError("an integer does not fit in 64 bits");
  return Value::Int(static_cast<int64_t>(number));
}

absl::StatusOr<Value> ToFloat(const FilterCall& call) {
  RETURN_IF_ERROR(call.arguments.Check(call.name, {"default"}));
  const Value* otherwise = call.arguments.Find(0, "default");
  if (const auto integer = AsInteger(call.input))
    return Value::Float(static_cast<double>(*integer));
  if (call.input.is(Value::kFloat)) return call.input;
  if (call.input.is(Value::kUndefined)) return UndefinedError(call.input);
  double number = 0;
  if (call.input.is(Value::kText) && ParseNumber(call.input.text().view(), number)) {
    return Value::Float(number);
  }
  return otherwise != nullptr ? *otherwise : Value::Float(0);
}

absl::StatusOr<Value> Absolute(const FilterCall& call) {
  RETURN_IF_ERROR(call.arguments.Check(call.name, {}));
  const auto integer = AsInteger(call.input);
  if (call.input.is(Value::kFloat)) return Value::Float(std::fabs(call.input.float_value()));
  if (!integer || *integer < 0) return Negate(call.input);
  return Value::Int(*integer);
}

absl::StatusOr<Value> ToJsonFilter(const FilterCall& call) {
  RETURN_IF_ERROR(
      call.arguments.Check(call.name, {"ensure_ascii", "indent", "separators", "sort_keys"}));
  JsonStyle style;
  const Value* ascii = call.arguments.Find(0, "ensure_ascii");
  const Value* indent = call.arguments.Find(1, "indent");
  const Value* separators = call.arguments.Find(2, "separators");
  const Value* sort_keys = call.arguments.Find(3, "sort_keys");
  style.ascii_only = ascii != nullptr && IsTrue(*ascii);
  style.sort_keys = sort_keys != nullptr && IsTrue(*sort_keys);
  if (indent != nullptr && !indent->is(Value::kNone)) {
    style.indent = AsInteger(*indent);
    if (!style.indent || *style.indent < 0 || *style.indent > 100) {
      return TypeError("tojson takes a small number as indent");
    }
    style.item_separator = TrackedText(",", true);
  }
  if (separators != nullptr && !separators->is(Value::kNone)) {
    ASSIGN_OR_RETURN(const std::vector<Value> pair, Iterate(*separators, call.budget));
    if (pair.size() != 2 || !pair[0].is(Value::kText) || !pair[1].is(Value::kText)) {
      return TypeError("tojson takes two separators");
    }
    style.item_separator = pair[0].text();
    style.key_separator = pair[1].text();
  }
  ASSIGN_OR_RETURN(TrackedText text, ToJson(call.input, style, call.budget));
  return Value::Text(std::move(text));
}

absl::StatusOr<Value> LengthFilter(const FilterCall& call) {
  RETURN_IF_ERROR(call.arguments.Check(call.name, {}));
  ASSIGN_OR_RETURN(const int64_t length, Length(call.input));
  return Value::Int(length);
}

const absl::flat_hash_map<std::string, FilterFunction>& Filters() {
  static const auto& filters = []() -> const absl::flat_hash_map<std::string, FilterFunction>& {
    auto& table = *new absl::flat_hash_map<std::string, FilterFunction>{
        {"trim", Trim},           {"upper", ToCase},      {"lower", ToCase},
        {"capitalize", ToCase},   {"title", Title},       {"replace", Replace},
        {"indent", Indent},       {"default", Default},   {"d", Default},
        {"string", ToString},     {"safe", ToString},     {"int", ToInteger},
        {"float", ToFloat},       {"abs", Absolute},      {"tojson", ToJsonFilter},
        {"length", LengthFilter}, {"count", LengthFilter}};
    for (const auto& [name, function] : ListFilters()) table.emplace(name, function);
    return table;
  }();
  return filters;
}

}  // namespace

bool IsFilter(absl::string_view name) { return Filters().contains(name); }

absl::StatusOr<Value> ApplyFilter(absl::string_view name, const Value& input,
                                  const Arguments& arguments, Budget& budget) {
  if (input.is(Value::kText)) {
    // The work grows with the text, and most results are as long as it.
    RETURN_IF_ERROR(budget.Read(input.text().size()));
    RETURN_IF_ERROR(budget.Build(input.text().size()));
  }
  return Filters().find(name)->second(FilterCall{name, input, arguments, budget});
}

}  // namespace tandem::jinja
