// The interpreter's expressions.

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/text/jinja/interpreter.h"
#include "common/text/jinja/operators.h"

namespace tandem::jinja {

absl::StatusOr<Value> Interpreter::Evaluate(const Expression& expression, Scope& scope) {
  RETURN_IF_ERROR(budget_.Step());
  const Budget::Level level(budget_);
  if (absl::Status status = level.Check(); !status.ok()) return status;
  absl::StatusOr<Value> value = EvaluateInner(expression, scope);
  if (!value.ok()) return Locate(value.status(), expression.line);
  return value;
}

absl::StatusOr<Value> Interpreter::EvaluateInner(const Expression& expression, Scope& scope) {
  switch (expression.kind) {
    case Expression::kConstant:
      return expression.constant;
    case Expression::kCaptured:
      return captured_;
    case Expression::kName: {
      if (const Value* found = scope.Find(expression.name)) return *found;
      if (!IsFunction(expression.name)) {
        return Value::MakeUndefined(absl::StrCat("'", expression.name, "' is undefined"));
      }
      auto function = std::make_shared<Callable>();
      function->type = Callable::kFunction;
      function->name = expression.name;
      return Value::Shared(std::shared_ptr<const Callable>(std::move(function)));
    }
    case Expression::kList:
    case Expression::kTuple: {
      List list;
      list.flavor = expression.kind == Expression::kTuple ? List::kTuple : List::kList;
      RETURN_IF_ERROR(budget_.Build(expression.operands.size() * sizeof(Value)));
      ASSIGN_OR_RETURN(list.items, EvaluateItems(expression, 0, scope));
      return Value::MakeList(std::move(list));
    }
    case Expression::kDict:
      return EvaluateDict(expression, scope);
    case Expression::kAttribute: {
      ASSIGN_OR_RETURN(const Value target, Evaluate(*expression.operands[0], scope));
      return GetAttribute(target, expression.name);
    }
    case Expression::kItem: {
      ASSIGN_OR_RETURN(const Value target, Evaluate(*expression.operands[0], scope));
      ASSIGN_OR_RETURN(const Value index, Evaluate(*expression.operands[1], scope));
      return GetItem(target, index, budget_);
    }
    case Expression::kSlice:
      return EvaluateSlice(expression, scope);
    case Expression::kCall:
      return EvaluateCall(expression, scope);
    case Expression::kFilter: {
      ASSIGN_OR_RETURN(const Value input, Evaluate(*expression.operands[0], scope));
      ASSIGN_OR_RETURN(const Arguments arguments, EvaluateArguments(expression, scope));
      return ApplyFilter(expression.name, input, arguments, budget_);
    }
    case Expression::kTest: {
      ASSIGN_OR_RETURN(const Value input, Evaluate(*expression.operands[0], scope));
      ASSIGN_OR_RETURN(const Arguments arguments, EvaluateArguments(expression, scope));
      ASSIGN_OR_RETURN(const bool passes, ApplyTest(expression.name, input, arguments, budget_));
      return Value::Bool(passes);
    }
    case Expression::kNot:
    case Expression::kAnd:
    case Expression::kOr:
    case Expression::kIfElse:
      return EvaluateLogic(expression, scope);
    case Expression::kNegate: {
      ASSIGN_OR_RETURN(const Value operand, Evaluate(*expression.operands[0], scope));
      return Negate(operand);
    }
    case Expression::kPlus: {
      ASSIGN_OR_RETURN(const Value operand, Evaluate(*expression.operands[0], scope));
      if (operand.is(Value::kBool)) return Value::Int(operand.bool_value() ? 1 : 0);
      if (operand.is(Value::kInt) || operand.is(Value::kFloat)) return operand;
      return TypeError(absl::StrCat("unary + does not take a ", TypeName(operand)));
    }
    case Expression::kCompare:
      return EvaluateCompare(expression, scope);
    case Expression::kArithmetic: {
      ASSIGN_OR_RETURN(const Value left, Evaluate(*expression.operands[0], scope));
      ASSIGN_OR_RETURN(const Value right, Evaluate(*expression.operands[1], scope));
      return Arithmetic(expression.name, left, right, budget_);
    }
    case Expression::kConcat:
      return EvaluateConcat(expression, scope);
  }
  return Value();
}

absl::StatusOr<std::vector<Value>> Interpreter::EvaluateItems(const Expression& expression,
                                                              size_t from, Scope& scope) {
  std::vector<Value> items;
  for (size_t i = from; i < expression.operands.size(); ++i) {
    ASSIGN_OR_RETURN(Value item, Evaluate(*expression.operands[i], scope));
    items.push_back(std::move(item));
  }
  return items;
}

absl::StatusOr<Value> Interpreter::EvaluateDict(const Expression& expression, Scope& scope) {
  Dict dict;
  for (size_t i = 0; i < expression.operands.size(); i += 2) {
    ASSIGN_OR_RETURN(const Value key, Evaluate(*expression.operands[i], scope));
    ASSIGN_OR_RETURN(Value value, Evaluate(*expression.operands[i + 1], scope));
    if (!key.is(Value::kText)) {
      return absl::UnimplementedError("a dict key that is no string is not supported");
    }
    RETURN_IF_ERROR(budget_.Build(key.text().size() + sizeof(Value)));
    dict.Set(key.text(), std::move(value));
  }
  return Value::MakeDict(std::move(dict));
}

absl::StatusOr<Value> Interpreter::EvaluateSlice(const Expression& expression, Scope& scope) {
  ASSIGN_OR_RETURN(const Value target, Evaluate(*expression.operands[0], scope));
  SliceBounds bounds;
  std::optional<int64_t>* const parts[] = {&bounds.start, &bounds.stop, &bounds.step};
  for (size_t i = 0; i < 3; ++i) {
    if (expression.operands[i + 1] == nullptr) continue;
    ASSIGN_OR_RETURN(const Value bound, Evaluate(*expression.operands[i + 1], scope));
    *parts[i] = AsInteger(bound);
    if (!parts[i]->has_value() && !bound.is(Value::kNone)) {
      return TypeError("a slice is bounded by integers");
    }
  }
  return GetSlice(target, bounds, budget_);
}

absl::StatusOr<Value> Interpreter::EvaluateLogic(const Expression& expression, Scope& scope) {
  ASSIGN_OR_RETURN(Value value, Evaluate(*expression.operands[0], scope));
  if (expression.kind == Expression::kNot) return Value::Bool(!IsTrue(value));
  if (expression.kind == Expression::kIfElse) {
    const Expression* chosen = expression.operands[IsTrue(value) ? 1 : 2].get();
    if (chosen != nullptr) return Evaluate(*chosen, scope);
    return Value::MakeUndefined("an inline if without else was false");
  }
  const bool goes_on_while = expression.kind == Expression::kAnd;
  for (size_t i = 1; i < expression.operands.size() && IsTrue(value) == goes_on_while; ++i) {
    ASSIGN_OR_RETURN(value, Evaluate(*expression.operands[i], scope));
  }
  return value;
}

absl::StatusOr<Value> Interpreter::EvaluateCompare(const Expression& expression, Scope& scope) {
  ASSIGN_OR_RETURN(Value left, Evaluate(*expression.operands[0], scope));
  for (size_t i = 0; i < expression.operators.size(); ++i) {
    ASSIGN_OR_RETURN(Value right, Evaluate(*expression.operands[i + 1], scope));
    ASSIGN_OR_RETURN(const bool holds, Compare(expression.operators[i], left, right, budget_));
    if (!holds) return Value::Bool(false);
    left = std::move(right);
  }
  return Value::Bool(true);
}

absl::StatusOr<Value> Interpreter::EvaluateConcat(const Expression& expression, Scope& scope) {
  TrackedText text;
  for (const auto& operand : expression.operands) {
    ASSIGN_OR_RETURN(const Value value, Evaluate(*operand, scope));
    ASSIGN_OR_RETURN(const TrackedText part, ToText(value, budget_));
    RETURN_IF_ERROR(budget_.Build(part.size()));
    text.Append(part);
  }
  return Value::Text(std::move(text));
}

absl::StatusOr<Arguments> Interpreter::EvaluateArguments(const Expression& call, Scope& scope) {
  Arguments arguments;
  ASSIGN_OR_RETURN(arguments.positional, EvaluateItems(call, 1, scope));
  for (const auto& [name, expression] : call.keywords) {
    ASSIGN_OR_RETURN(Value value, Evaluate(*expression, scope));
    arguments.named.emplace_back(name, std::move(value));
  }
  return arguments;
}

absl::StatusOr<Value> Interpreter::EvaluateCall(const Expression& call, Scope& scope) {
  ASSIGN_OR_RETURN(const Value callee, Evaluate(*call.operands[0], scope));
  ASSIGN_OR_RETURN(const Arguments arguments, EvaluateArguments(call, scope));
  if (callee.is(Value::kUndefined)) return UndefinedError(callee);
  if (!callee.is(Value::kCallable)) {
    return TypeError(absl::StrCat("a ", TypeName(callee), " cannot be called"));
  }
  const Callable& callable = callee.callable();
  switch (callable.type) {
    case Callable::kMacro:
      return CallMacro(callable, arguments);
    case Callable::kFunction:
      return CallFunction(callable.name, arguments);
    case Callable::kMethod:
      return CallMethod(callable.name, callable.receiver, arguments, budget_);
  }
  return Value();
}

absl::StatusOr<Value> Interpreter::CallMacro(const Callable& macro, const Arguments& arguments) {
  const Statement& definition = *macro.macro;
  std::vector<absl::string_view> names;
  for (const Statement::Target& parameter : definition.targets) names.push_back(parameter.name);
  RETURN_IF_ERROR(arguments.Check(absl::StrCat("the macro ", macro.name), names));

  Scope scope(macro.closure);
  const size_t first_default = names.size() - definition.values.size();
  for (size_t i = 0; i < names.size(); ++i) {
    Value value = Value::MakeUndefined(absl::StrCat("parameter '", names[i], "' was not provided"));
    if (const Value* argument = arguments.Find(i, names[i])) {
      value = *argument;
    } else if (i >= first_default) {
      ASSIGN_OR_RETURN(value, Evaluate(*definition.values[i - first_default], scope));
    }
    scope.Set(definition.targets[i].name, std::move(value));
  }
  TrackedText out;
  RETURN_IF_ERROR(ExecuteBody(definition.body, scope, out));
  return Value::Text(std::move(out));
}

}  // namespace tandem::jinja
