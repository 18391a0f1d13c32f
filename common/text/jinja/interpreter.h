// Interpreter executes a parsed template once. Single-threaded; one object per rendering.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/text/jinja/ast.h"
#include "common/text/jinja/budget.h"
#include "common/text/jinja/builtins.h"
#include "common/text/jinja/scope.h"

namespace tandem::jinja {

class Interpreter {
 public:
  Interpreter(Budget& budget, absl::Time now, absl::TimeZone time_zone)
      : budget_(budget), now_(now), time_zone_(time_zone) {}

  // The template's text. `globals` must outlive the call. Errors name the line where they arose.
  absl::StatusOr<TrackedText> Run(const Body& body, Scope& globals);

 private:
  enum class Flow { kNext, kBreak, kContinue };

  absl::StatusOr<Flow> ExecuteBody(const Body& body, Scope& scope, TrackedText& out);
  absl::StatusOr<Flow> Execute(const Statement& statement, Scope& scope, TrackedText& out);
  absl::Status Output(const Value& value, TrackedText& out);
  absl::Status Locate(const absl::Status& status, int line);
  absl::StatusOr<Flow> ExecuteWith(const Statement& statement, Scope& scope, TrackedText& out);
  absl::StatusOr<Flow> ExecuteFor(const Statement& statement, Scope& scope, TrackedText& out);
  absl::StatusOr<std::vector<Value>> LoopItems(const Statement& statement, Scope& scope);
  absl::Status ExecuteCapture(const Statement& statement, Scope& scope, TrackedText& out);
  absl::Status Assign(const Statement& statement, const Value& value, Scope& scope);
  absl::Status AssignTarget(const Statement::Target& target, const Value& value, Scope& scope);

  absl::StatusOr<Value> Evaluate(const Expression& expression, Scope& scope);
  absl::StatusOr<Value> EvaluateInner(const Expression& expression, Scope& scope);
  absl::StatusOr<std::vector<Value>> EvaluateItems(const Expression& expression, size_t from,
                                                   Scope& scope);
  absl::StatusOr<Value> EvaluateDict(const Expression& expression, Scope& scope);
  absl::StatusOr<Value> EvaluateSlice(const Expression& expression, Scope& scope);
  absl::StatusOr<Value> EvaluateLogic(const Expression& expression, Scope& scope);
  absl::StatusOr<Value> EvaluateCompare(const Expression& expression, Scope& scope);
  absl::StatusOr<Value> EvaluateConcat(const Expression& expression, Scope& scope);
  absl::StatusOr<Arguments> EvaluateArguments(const Expression& call, Scope& scope);
  absl::StatusOr<Value> EvaluateCall(const Expression& call, Scope& scope);
  absl::StatusOr<Value> CallMacro(const Callable& macro, const Arguments& arguments);
  absl::StatusOr<Value> CallFunction(absl::string_view name, const Arguments& arguments);

  Budget& budget_;
  absl::Time now_;
  absl::TimeZone time_zone_;
  bool error_located_ = false;  // whether the error on its way names its place
  Value captured_;              // the text that a filter block is applied to
};

}  // namespace tandem::jinja
