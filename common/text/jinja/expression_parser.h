// ExpressionParser reads expressions from a template's tokens: the half of the parser below the
// statements, with Jinja's precedences. Single-threaded.
#pragma once

#include <cstddef>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/text/jinja/ast.h"
#include "common/text/jinja/lexer.h"

namespace tandem::jinja {

class ExpressionParser {
 public:
  explicit ExpressionParser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  const Token& current() const { return tokens_[pos_]; }
  const Token& Look(size_t ahead) const;
  void Next() { pos_ += pos_ + 1 < tokens_.size() ? 1 : 0; }
  bool AtName(absl::string_view name) const;
  bool AtOperator(absl::string_view op) const;
  bool TakeName(absl::string_view name);
  bool TakeOperator(absl::string_view op);
  absl::Status ExpectOperator(absl::string_view op);
  absl::StatusOr<std::string> ExpectName();
  absl::Status Error(absl::string_view what) const;
  absl::Status Unsupported(absl::string_view what) const;

  absl::StatusOr<ExpressionPtr> ParseExpression();
  // One expression, or several with commas as a tuple. Without `with_if` an `if` ends it.
  absl::StatusOr<ExpressionPtr> ParseTuple(bool with_if);
  // A chain of filters on `input`, beginning at its first name.
  absl::StatusOr<ExpressionPtr> ParseFilterChain(ExpressionPtr input);

  // Functions called by name, with the line of the call; the caller checks them at the end, when
  // all macros are known.
  const std::vector<std::pair<std::string, int>>& called_names() const { return called_names_; }

 private:
  using Result = absl::StatusOr<ExpressionPtr>;

  ExpressionPtr Make(Expression::Kind kind) const;
  Result ParseOr();
  Result ParseAnd();
  Result ParseNot();
  Result ParseCompare();
  Result ParseSum();
  Result ParseConcat();
  Result ParseProduct();
  Result ParsePower();
  Result ParseUnary(bool with_filter);
  Result ParsePrimary();
  Result ParseName();
  Result ParseDict();
  Result ParsePostfix(ExpressionPtr node);
  Result ParseFiltersAndTests(ExpressionPtr node);
  Result ParseSubscript(ExpressionPtr node);
  Result ParseCall(ExpressionPtr callee);
  Result ParseFilter(ExpressionPtr input);
  Result ParseTest(ExpressionPtr input);
  absl::Status ParseArguments(Expression& call);
  absl::Status ParseItems(absl::string_view close, Expression& list);
  absl::Status CheckNamedArgument(const Expression& filter) const;
  bool AtTupleEnd() const;

  std::vector<Token> tokens_;
  size_t pos_ = 0;
  int depth_ = 0;
  std::vector<std::pair<std::string, int>> called_names_;
};

}  // namespace tandem::jinja
