#include "common/text/jinja/operators.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/text/jinja/python_text.h"

namespace tandem::jinja {
namespace {

std::optional<double> AsNumber(const Value& value) {
  if (value.is(Value::kFloat)) return value.float_value();
  if (const auto integer = AsInteger(value)) return static_cast<double>(*integer);
  return std::nullopt;
}

absl::Status OperandError(absl::string_view op, const Value& a, const Value& b) {
  if (a.is(Value::kUndefined)) return UndefinedError(a);
  if (b.is(Value::kUndefined)) return UndefinedError(b);
  return TypeError(
      absl::StrCat("operator ", op, " does not take ", TypeName(a), " and ", TypeName(b)));
}

absl::StatusOr<bool> AreEqualTexts(const TrackedText& a, const TrackedText& b, Budget& budget) {
  if (a.size() != b.size()) return false;
  RETURN_IF_ERROR(budget.Read(a.size()));
  return a.bytes() == b.bytes();
}

absl::StatusOr<bool> AreEqualLists(const List& a, const List& b, Budget& budget) {
  const bool same_kind = (a.flavor == List::kTuple) == (b.flavor == List::kTuple);
  bool equal = same_kind && a.items.size() == b.items.size();
  for (size_t i = 0; equal && i < a.items.size(); ++i) {
    ASSIGN_OR_RETURN(equal, AreEqual(a.items[i], b.items[i], budget));
  }
  return equal;
}

absl::StatusOr<bool> AreEqualDicts(const Dict& a, const Dict& b, Budget& budget) {
  bool equal = a.entries().size() == b.entries().size();
  for (size_t i = 0; equal && i < a.entries().size(); ++i) {
    const Dict::Entry& entry = a.entries()[i];
    const Value* other = b.Find(entry.key.view());
    if (other == nullptr) return false;
    ASSIGN_OR_RETURN(equal, AreEqual(entry.value, *other, budget));
  }
  return equal;
}

absl::StatusOr<bool> Contains(const Value& container, const Value& item, Budget& budget) {
  switch (container.kind()) {
    case Value::kUndefined:
      return false;
    case Value::kText:
      if (!item.is(Value::kText)) return OperandError("in", item, container);
      RETURN_IF_ERROR(budget.Read(container.text().size()));
      return FindText(container.text().view(), item.text().view()) != absl::string_view::npos;
    case Value::kList:
      for (const Value& other : container.list().items) {
        ASSIGN_OR_RETURN(const bool equal, AreEqual(item, other, budget));
        if (equal) return true;
      }
      return false;
    case Value::kDict:
      return item.is(Value::kText) && container.dict().Find(item.text().view()) != nullptr;
    default:
      return TypeError(absl::StrCat(TypeName(container), " cannot be searched with in"));
  }
}

// Negative: less; positive: greater.
absl::StatusOr<int> Order(absl::string_view op, const Value& a, const Value& b, Budget& budget) {
  if (a.is(Value::kText) && b.is(Value::kText)) {
    RETURN_IF_ERROR(budget.Read(std::min(a.text().size(), b.text().size())));
    return a.text().bytes().compare(b.text().bytes());
  }
  const auto left_integer = AsInteger(a), right_integer = AsInteger(b);
  if (left_integer && right_integer) {
    return *left_integer < *right_integer ? -1 : *left_integer > *right_integer ? 1 : 0;
  }
  const auto left = AsNumber(a), right = AsNumber(b);
  if (left && right) return *left < *right ? -1 : *left > *right ? 1 : 0;
  return OperandError(op, a, b);
}

absl::StatusOr<Value> IntegerArithmetic(absl::string_view op, int64_t a, int64_t b) {
  int64_t result = 0;
  bool overflow = false;
  if (op == "+") {
    overflow = __builtin_add_overflow(a, b, &result);
  } else if (op == "-") {
    overflow = __builtin_sub_overflow(a, b, &result);
  } else if (op == "*") {
    overflow = __builtin_mul_overflow(a, b, &result);
  } else {
    if (b == 0) return TypeError("division by zero");
    if (op == "/") return Value::Float(static_cast<double>(a) / static_cast<double>(b));
    if (b == -1) return IntegerArithmetic(op == "//" ? "*" : "%", a, op == "//" ? -1 : 1);
    const int64_t remainder = a % b;
    const bool floors = remainder != 0 && (remainder < 0) != (b < 0);
    result = op == "//" ? a / b - (floors ? 1 : 0) : remainder + (floors ? b : 0);
  }
  if (overflow) return TypeError("an integer does not fit in 64 bits");
  return Value::Int(result);
}

absl::StatusOr<Value> FloatArithmetic(absl::string_view op, double a, double b) {
  if (op == "+") return Value::Float(a + b);
  if (op == "-") return Value::Float(a - b);
  if (op == "*") return Value::Float(a * b);
  if (b == 0) return TypeError("division by zero");
  if (op == "/") return Value::Float(a / b);
  double remainder = std::fmod(a, b);
  if (remainder != 0 && (remainder < 0) != (b < 0)) remainder += b;
  return Value::Float(op == "//" ? std::floor((a - remainder) / b + 0.5) : remainder);
}

// Text or a list, `count` times.
absl::StatusOr<Value> Repeat(const Value& value, int64_t count, Budget& budget) {
  const size_t times = static_cast<size_t>(std::max<int64_t>(count, 0));
  const bool is_text = value.is(Value::kText);
  const size_t unit = is_text ? value.text().size() : value.list().items.size() * sizeof(Value);
  size_t bytes = 0;
  if (__builtin_mul_overflow(unit, times, &bytes)) bytes = SIZE_MAX;
  RETURN_IF_ERROR(budget.Build(bytes));
  if (is_text) {
    TrackedText text;
    for (size_t i = 0; i < times && unit > 0; ++i) text.Append(value.text());
    return Value::Text(std::move(text));
  }
  List list;
  list.flavor = value.list().flavor;
  for (size_t i = 0; i < times && unit > 0; ++i) {
    list.items.insert(list.items.end(), value.list().items.begin(), value.list().items.end());
  }
  return Value::MakeList(std::move(list));
}

absl::StatusOr<std::optional<Value>> SequenceArithmetic(absl::string_view op, const Value& a,
                                                        const Value& b, Budget& budget) {
  const auto is_sequence = [](const Value& v) {
    return v.is(Value::kText) || (v.is(Value::kList) && v.list().flavor <= List::kTuple);
  };
  if (op == "*" && is_sequence(a) && AsInteger(b)) return Repeat(a, *AsInteger(b), budget);
  if (op == "*" && is_sequence(b) && AsInteger(a)) return Repeat(b, *AsInteger(a), budget);
  if (op != "+" || !is_sequence(a) || a.kind() != b.kind()) return std::nullopt;
  if (a.is(Value::kText)) {
    RETURN_IF_ERROR(budget.Build(a.text().size() + b.text().size()));
    TrackedText text = a.text();
    text.Append(b.text());
    return Value::Text(std::move(text));
  }
  if (a.list().flavor != b.list().flavor) return std::nullopt;
  List list;
  list.flavor = a.list().flavor;
  RETURN_IF_ERROR(budget.Build((a.list().items.size() + b.list().items.size()) * sizeof(Value)));
  list.items = a.list().items;
  list.items.insert(list.items.end(), b.list().items.begin(), b.list().items.end());
  return Value::MakeList(std::move(list));
}

}  // namespace

absl::Status TypeError(absl::string_view what) { return absl::InvalidArgumentError(what); }

absl::Status UndefinedError(const Value& undefined) {
  return absl::InvalidArgumentError(undefined.undefined_what());
}

std::optional<int64_t> AsInteger(const Value& value) {
  if (value.is(Value::kInt)) return value.int_value();
  if (value.is(Value::kBool)) return value.bool_value() ? 1 : 0;
  return std::nullopt;
}

bool IsTrue(const Value& value) {
  switch (value.kind()) {
    case Value::kUndefined:
    case Value::kNone:
      return false;
    case Value::kBool:
      return value.bool_value();
    case Value::kInt:
      return value.int_value() != 0;
    case Value::kFloat:
      return value.float_value() != 0;
    case Value::kText:
      return !value.text().empty();
    case Value::kList:
      return value.list().flavor == List::kGenerator || !value.list().items.empty();
    case Value::kDict:
      return !value.dict().entries().empty();
    default:
      return true;
  }
}

absl::StatusOr<bool> AreEqual(const Value& a, const Value& b, Budget& budget) {
  RETURN_IF_ERROR(budget.Step());
  if (const auto left = AsInteger(a), right = AsInteger(b); left && right) return *left == *right;
  if (const auto left = AsNumber(a), right = AsNumber(b); left && right) return *left == *right;
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Value::kUndefined:
    case Value::kNone:
      return true;
    case Value::kText:
      return AreEqualTexts(a.text(), b.text(), budget);
    case Value::kList:
      return AreEqualLists(a.list(), b.list(), budget);
    case Value::kDict:
      return AreEqualDicts(a.dict(), b.dict(), budget);
    case Value::kNamespace:
      return &a.ns() == &b.ns();
    case Value::kLoop:
      return &a.loop() == &b.loop();
    default:
      return &a.callable() == &b.callable();
  }
}

absl::StatusOr<bool> Compare(absl::string_view op, const Value& a, const Value& b, Budget& budget) {
  if (op == "==" || op == "!=") {
    ASSIGN_OR_RETURN(const bool equal, AreEqual(a, b, budget));
    return equal == (op == "==");
  }
  if (op == "in" || op == "not in") {
    ASSIGN_OR_RETURN(const bool found, Contains(b, a, budget));
    return found == (op == "in");
  }
  ASSIGN_OR_RETURN(const int order, Order(op, a, b, budget));
  if (op == "<") return order < 0;
  if (op == "<=") return order <= 0;
  if (op == ">") return order > 0;
  return order >= 0;
}

absl::StatusOr<Value> Arithmetic(absl::string_view op, const Value& a, const Value& b,
                                 Budget& budget) {
  const auto left_integer = AsInteger(a), right_integer = AsInteger(b);
  if (left_integer && right_integer) return IntegerArithmetic(op, *left_integer, *right_integer);
  const auto left = AsNumber(a), right = AsNumber(b);
  if (left && right) return FloatArithmetic(op, *left, *right);
  if (op == "%" && a.is(Value::kText)) {
    return absl::UnimplementedError("formatting text with % is not supported");
  }
  ASSIGN_OR_RETURN(std::optional<Value> sequence, SequenceArithmetic(op, a, b, budget));
  if (sequence) return *std::move(sequence);
  return OperandError(op, a, b);
}

absl::StatusOr<Value> Negate(const Value& value) {
  if (const auto integer = AsInteger(value)) return IntegerArithmetic("-", 0, *integer);
  if (value.is(Value::kFloat)) return Value::Float(-value.float_value());
  if (value.is(Value::kUndefined)) return UndefinedError(value);
  return TypeError(absl::StrCat("a ", TypeName(value), " has no negative"));
}

absl::StatusOr<TrackedText> ToText(const Value& value, Budget& budget) {
  if (value.is(Value::kText)) return value.text();
  if (value.is(Value::kUndefined)) return TrackedText();
  return Repr(value, budget);
}

absl::StatusOr<TrackedText> Repr(const Value& value, Budget& budget) {
  RETURN_IF_ERROR(budget.Step());
  TrackedText out;
  switch (value.kind()) {
    case Value::kUndefined:
      return TrackedText("Undefined", true);
    case Value::kNone:
      return TrackedText("None", true);
    case Value::kBool:
      return TrackedText(value.bool_value() ? "True" : "False", true);
    case Value::kInt:
      return TrackedText(absl::StrCat(value.int_value()), true);
    case Value::kFloat:
      return TrackedText(ReprFloat(value.float_value()), true);
    case Value::kText:
      RETURN_IF_ERROR(budget.Build(value.text().size()));
      return TrackedText(ReprText(value.text().view()), value.text().trusted());
    case Value::kList: {
      const List& list = value.list();
      if (list.flavor > List::kTuple)
        return TypeError("an iterator has no text; use the filter list");
      const bool tuple = list.flavor == List::kTuple;
      out.Append(tuple ? "(" : "[", true);
      for (size_t i = 0; i < list.items.size(); ++i) {
        if (i > 0) out.Append(", ", true);
        ASSIGN_OR_RETURN(const TrackedText item, Repr(list.items[i], budget));
        out.Append(item);
      }
      out.Append(tuple ? (list.items.size() == 1 ? ",)" : ")") : "]", true);
      return out;
    }
    case Value::kDict: {
      out.Append("{", true);
      for (const Dict::Entry& entry : value.dict().entries()) {
        if (out.size() > 1) out.Append(", ", true);
        RETURN_IF_ERROR(budget.Build(entry.key.size()));
        out.Append(ReprText(entry.key.view()), entry.key.trusted());
        out.Append(": ", true);
        ASSIGN_OR_RETURN(const TrackedText item, Repr(entry.value, budget));
        out.Append(item);
      }
      out.Append("}", true);
      return out;
    }
    default:
      return TypeError(absl::StrCat("a ", TypeName(value), " has no text"));
  }
}

}  // namespace tandem::jinja
