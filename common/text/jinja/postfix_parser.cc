// What may follow an operand: attributes, subscripts, calls, filters and tests. The names used
// there are checked against what the interpreter has.

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/text/jinja/builtins.h"
#include "common/text/jinja/expression_parser.h"

namespace tandem::jinja {
namespace {

// A chain x.a.b.c nests the tree one level per link.
constexpr int kMaxChain = 60;

}  // namespace

absl::StatusOr<ExpressionPtr> ExpressionParser::ParsePostfix(ExpressionPtr node) {
  for (int links = 0;; ++links) {
    if (links > kMaxChain) return Error("a chain of attributes or calls is too long");
    if (AtOperator(".") || AtOperator("[")) {
      ASSIGN_OR_RETURN(node, ParseSubscript(std::move(node)));
    } else if (AtOperator("(")) {
      ASSIGN_OR_RETURN(node, ParseCall(std::move(node)));
    } else {
      return node;
    }
  }
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseFiltersAndTests(ExpressionPtr node) {
  for (int links = 0;; ++links) {
    if (links > kMaxChain) return Error("a chain of filters is too long");
    if (TakeOperator("|")) {
      ASSIGN_OR_RETURN(node, ParseFilter(std::move(node)));
    } else if (TakeName("is")) {
      ASSIGN_OR_RETURN(node, ParseTest(std::move(node)));
    } else if (AtOperator("(")) {
      ASSIGN_OR_RETURN(node, ParseCall(std::move(node)));
    } else {
      return node;
    }
  }
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseSubscript(ExpressionPtr target) {
  ExpressionPtr node = Make(Expression::kItem);
  if (TakeOperator(".")) {
    if (current().type == Token::kInteger) {
      ExpressionPtr index = Make(Expression::kConstant);
      index->constant = Value::Int(current().integer);
      Next();
      node->operands.push_back(std::move(target));
      node->operands.push_back(std::move(index));
      return node;
    }
    node->kind = Expression::kAttribute;
    ASSIGN_OR_RETURN(node->name, ExpectName());
    node->operands.push_back(std::move(target));
    return node;
  }
  Next();  // [
  node->operands.push_back(std::move(target));
  if (!AtOperator(":")) {
    ASSIGN_OR_RETURN(ExpressionPtr index, ParseExpression());
    node->operands.push_back(std::move(index));
  } else {
    node->operands.push_back(nullptr);
  }
  if (TakeOperator(":")) {
    node->kind = Expression::kSlice;
    node->operands.resize(4);
    if (!AtOperator(":") && !AtOperator("]")) {
      ASSIGN_OR_RETURN(node->operands[2], ParseExpression());
    }
    if (TakeOperator(":") && !AtOperator("]")) {
      ASSIGN_OR_RETURN(node->operands[3], ParseExpression());
    }
  }
  if (AtOperator(",")) return Unsupported("a tuple as an index");
  RETURN_IF_ERROR(ExpectOperator("]"));
  return node;
}

absl::Status ExpressionParser::ParseArguments(Expression& call) {
  RETURN_IF_ERROR(ExpectOperator("("));
  bool first = true;
  while (!TakeOperator(")")) {
    if (!first) {
      RETURN_IF_ERROR(ExpectOperator(","));
      if (TakeOperator(")")) break;
    }
    first = false;
    if (AtOperator("*") || AtOperator("**")) return Unsupported("* or ** before an argument");
    const Token& next = Look(1);
    if (current().type == Token::kName && next.type == Token::kOperator && next.text == "=") {
      std::string keyword = current().text;
      Next();
      Next();
      ASSIGN_OR_RETURN(ExpressionPtr value, ParseExpression());
      call.keywords.emplace_back(std::move(keyword), std::move(value));
    } else {
      if (!call.keywords.empty()) return Error("a positional argument follows a named one");
      ASSIGN_OR_RETURN(ExpressionPtr value, ParseExpression());
      call.operands.push_back(std::move(value));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseCall(ExpressionPtr callee) {
  ExpressionPtr node = Make(Expression::kCall);
  if (callee->kind == Expression::kAttribute) {
    if (!IsMethod(callee->name)) return Unsupported(absl::StrCat("the method ", callee->name));
  } else if (callee->kind == Expression::kName) {
    called_names_.emplace_back(callee->name, callee->line);
  } else {
    return Unsupported("a call of something that is neither a function nor a method");
  }
  node->operands.push_back(std::move(callee));
  RETURN_IF_ERROR(ParseArguments(*node));
  return node;
}

// map('upper'), select('defined') and selectattr('role', 'equalto', ...) name a filter or test.
absl::Status ExpressionParser::CheckNamedArgument(const Expression& filter) const {
  const bool by_attribute = filter.name == "selectattr" || filter.name == "rejectattr";
  const bool by_test = by_attribute || filter.name == "select" || filter.name == "reject";
  if (!by_test && filter.name != "map") return absl::OkStatus();
  const size_t position = by_attribute ? 2 : 1;
  if (filter.operands.size() <= position) return absl::OkStatus();
  const Expression& argument = *filter.operands[position];
  if (argument.kind != Expression::kConstant || !argument.constant.is(Value::kText)) {
    return Unsupported(absl::StrCat("a computed name in ", filter.name));
  }
  const std::string& name = argument.constant.text().bytes();
  if (by_test ? IsTest(name) : IsFilter(name)) return absl::OkStatus();
  return Unsupported(absl::StrCat(by_test ? "the test " : "the filter ", name));
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseFilter(ExpressionPtr input) {
  ExpressionPtr node = Make(Expression::kFilter);
  if (current().type == Token::kName && !IsFilter(current().text)) {
    return Unsupported(absl::StrCat("the filter ", current().text));
  }
  ASSIGN_OR_RETURN(node->name, ExpectName());
  node->operands.push_back(std::move(input));
  if (AtOperator("(")) RETURN_IF_ERROR(ParseArguments(*node));
  RETURN_IF_ERROR(CheckNamedArgument(*node));
  return node;
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseFilterChain(ExpressionPtr input) {
  ASSIGN_OR_RETURN(ExpressionPtr node, ParseFilter(std::move(input)));
  return ParseFiltersAndTests(std::move(node));
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseTest(ExpressionPtr input) {
  const bool negated = TakeName("not");
  ExpressionPtr node = Make(Expression::kTest);
  if (current().type == Token::kName && !IsTest(current().text)) {
    return Unsupported(absl::StrCat("the test ", current().text));
  }
  ASSIGN_OR_RETURN(node->name, ExpectName());
  node->operands.push_back(std::move(input));
  const Token& token = current();
  const bool opens = AtOperator("[") || AtOperator("{");
  const bool literal =
      token.type == Token::kString || token.type == Token::kInteger || token.type == Token::kFloat;
  const bool name = token.type == Token::kName && token.text != "else" && token.text != "or" &&
                    token.text != "and";
  if (AtOperator("(")) {
    RETURN_IF_ERROR(ParseArguments(*node));
  } else if (opens || literal || name) {
    if (AtName("is")) return Error("tests cannot be chained");
    ASSIGN_OR_RETURN(ExpressionPtr argument, ParsePrimary());
    ASSIGN_OR_RETURN(argument, ParsePostfix(std::move(argument)));
    node->operands.push_back(std::move(argument));
  }
  if (!negated) return node;
  ExpressionPtr inverse = Make(Expression::kNot);
  inverse->operands.push_back(std::move(node));
  return inverse;
}

}  // namespace tandem::jinja
