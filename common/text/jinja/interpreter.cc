#include "common/text/jinja/interpreter.h"

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/text/jinja/operators.h"

namespace tandem::jinja {

absl::StatusOr<TrackedText> Interpreter::Run(const Body& body, Scope& globals) {
  TrackedText out;
  RETURN_IF_ERROR(ExecuteBody(body, globals, out));
  return out;
}

absl::Status Interpreter::Locate(const absl::Status& status, int line) {
  if (status.ok() || error_located_) return status;
  error_located_ = true;
  return WithContext(status, absl::StrCat("line ", line));
}

absl::StatusOr<Interpreter::Flow> Interpreter::ExecuteBody(const Body& body, Scope& scope,
                                                           TrackedText& out) {
  for (const auto& statement : body) {
    const absl::StatusOr<Flow> flow = Execute(*statement, scope, out);
    if (!flow.ok()) return Locate(flow.status(), statement->line);
    if (*flow != Flow::kNext) return *flow;
  }
  return Flow::kNext;
}

absl::StatusOr<Interpreter::Flow> Interpreter::Execute(const Statement& statement, Scope& scope,
                                                       TrackedText& out) {
  RETURN_IF_ERROR(budget_.Step());
  const Budget::Level level(budget_);
  RETURN_IF_ERROR(level.Check());
  switch (statement.kind) {
    case Statement::kData:
      RETURN_IF_ERROR(Output(statement.text, out));
      return Flow::kNext;
    case Statement::kOutput: {
      ASSIGN_OR_RETURN(const Value value, Evaluate(*statement.expression, scope));
      RETURN_IF_ERROR(Output(value, out));
      return Flow::kNext;
    }
    case Statement::kIf: {
      ASSIGN_OR_RETURN(const Value condition, Evaluate(*statement.expression, scope));
      return ExecuteBody(IsTrue(condition) ? statement.body : statement.otherwise, scope, out);
    }
    case Statement::kFor:
      return ExecuteFor(statement, scope, out);
    case Statement::kSet: {
      ASSIGN_OR_RETURN(const Value value, Evaluate(*statement.expression, scope));
      RETURN_IF_ERROR(Assign(statement, value, scope));
      return Flow::kNext;
    }
    case Statement::kCapture:
      RETURN_IF_ERROR(ExecuteCapture(statement, scope, out));
      return Flow::kNext;
    case Statement::kWith:
      return ExecuteWith(statement, scope, out);
    case Statement::kMacro: {
      auto macro = std::make_shared<Callable>();
      macro->type = Callable::kMacro;
      macro->name = statement.name;
      macro->macro = &statement;
      macro->closure = &scope;
      scope.Set(statement.name, Value::Shared(std::shared_ptr<const Callable>(std::move(macro))));
      return Flow::kNext;
    }
    case Statement::kBlock: {
      Scope inner(&scope);
      return ExecuteBody(statement.body, inner, out);
    }
    case Statement::kBreak:
      return Flow::kBreak;
    case Statement::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNext;
}

absl::Status Interpreter::Output(const Value& value, TrackedText& out) {
  ASSIGN_OR_RETURN(const TrackedText text, ToText(value, budget_));
  RETURN_IF_ERROR(budget_.Build(text.size()));
  RETURN_IF_ERROR(budget_.Output(out.size() + text.size()));
  out.Append(text);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Value>> Interpreter::LoopItems(const Statement& statement,
                                                          Scope& scope) {
  ASSIGN_OR_RETURN(const Value iterable, Evaluate(*statement.expression, scope));
  ASSIGN_OR_RETURN(std::vector<Value> items, Iterate(iterable, budget_));
  if (statement.condition == nullptr) return items;
  std::vector<Value> kept;
  for (Value& item : items) {
    Scope inner(&scope);
    RETURN_IF_ERROR(Assign(statement, item, inner));
    ASSIGN_OR_RETURN(const Value condition, Evaluate(*statement.condition, inner));
    if (IsTrue(condition)) kept.push_back(std::move(item));
  }
  return kept;
}

absl::StatusOr<Interpreter::Flow> Interpreter::ExecuteFor(const Statement& statement, Scope& scope,
                                                          TrackedText& out) {
  ASSIGN_OR_RETURN(const std::vector<Value> items, LoopItems(statement, scope));
  bool completed_one = false;  // Jinja's else also follows a loop left or continued from every time
  const auto loop = std::make_shared<Loop>();
  loop->items = &items;
  for (; loop->index0 < items.size(); ++loop->index0) {
    RETURN_IF_ERROR(budget_.Step());
    Scope inner(&scope);
    inner.Set("loop", Value::Shared(std::shared_ptr<const Loop>(loop)));
    RETURN_IF_ERROR(Assign(statement, items[loop->index0], inner));
    ASSIGN_OR_RETURN(const Flow flow, ExecuteBody(statement.body, inner, out));
    if (flow == Flow::kBreak) break;
    completed_one = completed_one || flow == Flow::kNext;
  }
  if (!completed_one) return ExecuteBody(statement.otherwise, scope, out);
  return Flow::kNext;
}

absl::StatusOr<Interpreter::Flow> Interpreter::ExecuteWith(const Statement& statement, Scope& scope,
                                                           TrackedText& out) {
  Scope inner(&scope);
  for (size_t i = 0; i < statement.targets.size(); ++i) {
    ASSIGN_OR_RETURN(Value value, Evaluate(*statement.values[i], scope));
    inner.Set(statement.targets[i].name, std::move(value));
  }
  return ExecuteBody(statement.body, inner, out);
}

absl::Status Interpreter::ExecuteCapture(const Statement& statement, Scope& scope,
                                         TrackedText& out) {
  TrackedText text;
  Scope inner(&scope);
  RETURN_IF_ERROR(ExecuteBody(statement.body, inner, text));
  Value value = Value::Text(std::move(text));
  if (statement.expression != nullptr) {
    const Value outer = std::exchange(captured_, value);
    ASSIGN_OR_RETURN(value, Evaluate(*statement.expression, scope));
    captured_ = outer;
  }
  if (statement.targets.empty()) return Output(value, out);
  return AssignTarget(statement.targets[0], value, scope);
}

absl::Status Interpreter::Assign(const Statement& statement, const Value& value, Scope& scope) {
  if (!statement.unpack) return AssignTarget(statement.targets[0], value, scope);
  ASSIGN_OR_RETURN(const std::vector<Value> items, Iterate(value, budget_));
  if (items.size() != statement.targets.size()) {
    return TypeError(
        absl::StrCat(items.size(), " values for ", statement.targets.size(), " names"));
  }
  for (size_t i = 0; i < items.size(); ++i) {
    RETURN_IF_ERROR(AssignTarget(statement.targets[i], items[i], scope));
  }
  return absl::OkStatus();
}

absl::Status Interpreter::AssignTarget(const Statement::Target& target, const Value& value,
                                       Scope& scope) {
  if (target.attribute.empty()) {
    scope.Set(target.name, value);
    return absl::OkStatus();
  }
  const Value* ns = scope.Find(target.name);
  if (ns == nullptr || !ns->is(Value::kNamespace)) {
    return TypeError(absl::StrCat(target.name, " is no namespace"));
  }
  if (!value.is_plain()) {
    return absl::UnimplementedError(
        absl::StrCat("a ", TypeName(value), " in a namespace is not supported"));
  }
  ns->ns().attributes[target.attribute] = value;
  return absl::OkStatus();
}

}  // namespace tandem::jinja
