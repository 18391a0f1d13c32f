#include "common/text/jinja/expression_parser.h"

#include <algorithm>
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/text/jinja/builtins.h"

namespace tandem::jinja {
namespace {

constexpr int kMaxNesting = 100;

absl::string_view Describe(const Token& token) {
  switch (token.type) {
    case Token::kEnd:
      return "the end of the template";
    case Token::kBlockEnd:
      return "%}";
    case Token::kVariableEnd:
      return "}}";
    default:
      return token.text;
  }
}

}  // namespace

const Token& ExpressionParser::Look(size_t ahead) const {
  return tokens_[std::min(pos_ + ahead, tokens_.size() - 1)];
}

bool ExpressionParser::AtName(absl::string_view name) const {
  return current().type == Token::kName && current().text == name;
}

bool ExpressionParser::AtOperator(absl::string_view op) const {
  return current().type == Token::kOperator && current().text == op;
}

bool ExpressionParser::TakeName(absl::string_view name) {
  const bool found = AtName(name);
  if (found) Next();
  return found;
}

bool ExpressionParser::TakeOperator(absl::string_view op) {
  const bool found = AtOperator(op);
  if (found) Next();
  return found;
}

absl::Status ExpressionParser::ExpectOperator(absl::string_view op) {
  if (TakeOperator(op)) return absl::OkStatus();
  return Error(absl::StrCat("expected '", op, "', found '", Describe(current()), "'"));
}

absl::StatusOr<std::string> ExpressionParser::ExpectName() {
  if (current().type != Token::kName) {
    return Error(absl::StrCat("expected a name, found '", Describe(current()), "'"));
  }
  std::string name = current().text;
  Next();
  return name;
}

absl::Status ExpressionParser::Error(absl::string_view what) const {
  return absl::InvalidArgumentError(absl::StrCat("line ", current().line, ": ", what));
}

absl::Status ExpressionParser::Unsupported(absl::string_view what) const {
  return absl::UnimplementedError(
      absl::StrCat("line ", current().line, ": ", what, " is not supported"));
}

ExpressionPtr ExpressionParser::Make(Expression::Kind kind) const {
  auto node = std::make_unique<Expression>();
  node->kind = kind;
  node->line = current().line;
  return node;
}

bool ExpressionParser::AtTupleEnd() const {
  return current().type == Token::kVariableEnd || current().type == Token::kBlockEnd ||
         AtOperator(")") || AtName("recursive");
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseTuple(bool with_if) {
  ExpressionPtr tuple = Make(Expression::kTuple);
  if (AtTupleEnd())
    return Error(absl::StrCat("expected an expression, found '", Describe(current()), "'"));
  do {
    if (AtTupleEnd()) return tuple;  // after a comma at the end
    ASSIGN_OR_RETURN(ExpressionPtr item, with_if ? ParseExpression() : ParseOr());
    if (tuple->operands.empty() && !AtOperator(",")) return item;
    tuple->operands.push_back(std::move(item));
  } while (TakeOperator(","));
  return tuple;
}

// Every way to nest expressions leads through here, through ParseNot or through ParseUnary.
absl::StatusOr<ExpressionPtr> ExpressionParser::ParseExpression() {
  if (depth_ >= kMaxNesting) return Error("expressions are nested too deeply");
  ++depth_;
  Result value = ParseOr();
  for (int count = 0; value.ok() && AtName("if"); ++count) {
    if (count >= kMaxNesting) return Error("an expression has too many conditions");
    ExpressionPtr node = Make(Expression::kIfElse);
    Next();
    ASSIGN_OR_RETURN(ExpressionPtr condition, ParseOr());
    ExpressionPtr otherwise;
    if (TakeName("else")) {
      ASSIGN_OR_RETURN(otherwise, ParseExpression());
    }
    node->operands.push_back(std::move(condition));
    node->operands.push_back(std::move(*value));
    node->operands.push_back(std::move(otherwise));
    value = std::move(node);
  }
  --depth_;
  return value;
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseOr() {
  ASSIGN_OR_RETURN(ExpressionPtr left, ParseAnd());
  if (!AtName("or")) return left;
  ExpressionPtr node = Make(Expression::kOr);
  node->operands.push_back(std::move(left));
  while (TakeName("or")) {
    ASSIGN_OR_RETURN(ExpressionPtr right, ParseAnd());
    node->operands.push_back(std::move(right));
  }
  return node;
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseAnd() {
  ASSIGN_OR_RETURN(ExpressionPtr left, ParseNot());
  if (!AtName("and")) return left;
  ExpressionPtr node = Make(Expression::kAnd);
  node->operands.push_back(std::move(left));
  while (TakeName("and")) {
    ASSIGN_OR_RETURN(ExpressionPtr right, ParseNot());
    node->operands.push_back(std::move(right));
  }
  return node;
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseNot() {
  if (!AtName("not")) return ParseCompare();
  if (depth_ >= kMaxNesting) return Error("expressions are nested too deeply");
  ++depth_;
  ExpressionPtr node = Make(Expression::kNot);
  Next();
  ASSIGN_OR_RETURN(ExpressionPtr operand, ParseNot());
  --depth_;
  node->operands.push_back(std::move(operand));
  return node;
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseCompare() {
  ASSIGN_OR_RETURN(ExpressionPtr left, ParseSum());
  ExpressionPtr node = Make(Expression::kCompare);
  node->operands.push_back(std::move(left));
  while (true) {
    std::string op;
    for (const absl::string_view known : {"==", "!=", "<", "<=", ">", ">="}) {
      if (AtOperator(known)) op = std::string(known);
    }
    const Token& next = Look(1);
    if (AtName("in")) op = "in";
    if (AtName("not") && next.type == Token::kName && next.text == "in") {
      op = "not in";
      Next();
    }
    if (op.empty()) break;
    Next();
    ASSIGN_OR_RETURN(ExpressionPtr right, ParseSum());
    node->operators.push_back(std::move(op));
    node->operands.push_back(std::move(right));
  }
  return node->operators.empty() ? std::move(node->operands[0]) : std::move(node);
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseSum() {
  ASSIGN_OR_RETURN(ExpressionPtr left, ParseConcat());
  for (int count = 0; AtOperator("+") || AtOperator("-"); ++count) {
    if (count >= kMaxNesting) return Error("an expression has too many terms");
    ExpressionPtr node = Make(Expression::kArithmetic);
    node->name = current().text;
    Next();
    ASSIGN_OR_RETURN(ExpressionPtr right, ParseConcat());
    node->operands.push_back(std::move(left));
    node->operands.push_back(std::move(right));
    left = std::move(node);
  }
  return left;
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseConcat() {
  ASSIGN_OR_RETURN(ExpressionPtr left, ParseProduct());
  if (!AtOperator("~")) return left;
  ExpressionPtr node = Make(Expression::kConcat);
  node->operands.push_back(std::move(left));
  while (TakeOperator("~")) {
    ASSIGN_OR_RETURN(ExpressionPtr right, ParseProduct());
    node->operands.push_back(std::move(right));
  }
  return node;
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseProduct() {
  ASSIGN_OR_RETURN(ExpressionPtr left, ParsePower());
  for (int count = 0; AtOperator("*") || AtOperator("/") || AtOperator("//") || AtOperator("%");
       ++count) {
    if (count >= kMaxNesting) return Error("an expression has too many factors");
    ExpressionPtr node = Make(Expression::kArithmetic);
    node->name = current().text;
    Next();
    ASSIGN_OR_RETURN(ExpressionPtr right, ParsePower());
    node->operands.push_back(std::move(left));
    node->operands.push_back(std::move(right));
    left = std::move(node);
  }
  return left;
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParsePower() {
  ASSIGN_OR_RETURN(ExpressionPtr left, ParseUnary(/*with_filter=*/true));
  if (AtOperator("**")) return Unsupported("the operator **");
  return left;
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseUnary(bool with_filter) {
  if (depth_ >= kMaxNesting) return Error("expressions are nested too deeply");
  ++depth_;
  ExpressionPtr node;
  if (AtOperator("-") || AtOperator("+")) {
    node = Make(AtOperator("-") ? Expression::kNegate : Expression::kPlus);
    Next();
    ASSIGN_OR_RETURN(ExpressionPtr operand, ParseUnary(/*with_filter=*/false));
    node->operands.push_back(std::move(operand));
  } else {
    ASSIGN_OR_RETURN(node, ParsePrimary());
  }
  ASSIGN_OR_RETURN(node, ParsePostfix(std::move(node)));
  if (with_filter) {
    ASSIGN_OR_RETURN(node, ParseFiltersAndTests(std::move(node)));
  }
  --depth_;
  return node;
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParsePrimary() {
  const Token& token = current();
  ExpressionPtr node = Make(Expression::kConstant);
  if (token.type == Token::kName) return ParseName();
  if (token.type == Token::kString) {
    std::string text;
    for (; current().type == Token::kString; Next()) text += current().text;
    node->constant = Value::Trusted(std::move(text));
    return node;
  }
  if (token.type == Token::kInteger || token.type == Token::kFloat) {
    node->constant =
        token.type == Token::kInteger ? Value::Int(token.integer) : Value::Float(token.real);
    Next();
    return node;
  }
  if (TakeOperator("(")) {
    if (TakeOperator(")")) {
      node->kind = Expression::kTuple;
      return node;
    }
    if (depth_ >= kMaxNesting) return Error("expressions are nested too deeply");
    ASSIGN_OR_RETURN(node, ParseTuple(/*with_if=*/true));
    RETURN_IF_ERROR(ExpectOperator(")"));
    return node;
  }
  if (TakeOperator("[")) {
    node->kind = Expression::kList;
    RETURN_IF_ERROR(ParseItems("]", *node));
    return node;
  }
  if (AtOperator("{")) return ParseDict();
  return Error(absl::StrCat("unexpected '", Describe(token), "'"));
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseName() {
  ExpressionPtr node = Make(Expression::kConstant);
  const std::string name = current().text;
  Next();
  if (name == "true" || name == "True") {
    node->constant = Value::Bool(true);
  } else if (name == "false" || name == "False") {
    node->constant = Value::Bool(false);
  } else if (name == "none" || name == "None") {
    node->constant = Value::None();
  } else if (name == "caller" || name == "varargs" || name == "kwargs" || name == "self") {
    return Unsupported(absl::StrCat("the variable ", name));
  } else {
    node->kind = Expression::kName;
    node->name = name;
  }
  return node;
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseDict() {
  ExpressionPtr node = Make(Expression::kDict);
  Next();
  while (!TakeOperator("}")) {
    if (!node->operands.empty()) {
      RETURN_IF_ERROR(ExpectOperator(","));
      if (TakeOperator("}")) break;
    }
    ASSIGN_OR_RETURN(ExpressionPtr key, ParseExpression());
    if (key->kind == Expression::kConstant && !key->constant.is(Value::kText)) {
      return Unsupported("a dict key that is no string");
    }
    RETURN_IF_ERROR(ExpectOperator(":"));
    ASSIGN_OR_RETURN(ExpressionPtr value, ParseExpression());
    node->operands.push_back(std::move(key));
    node->operands.push_back(std::move(value));
  }
  return node;
}

absl::Status ExpressionParser::ParseItems(absl::string_view close, Expression& list) {
  while (!TakeOperator(close)) {
    if (!list.operands.empty()) {
      RETURN_IF_ERROR(ExpectOperator(","));
      if (TakeOperator(close)) break;
    }
    ASSIGN_OR_RETURN(ExpressionPtr item, ParseExpression());
    list.operands.push_back(std::move(item));
  }
  return absl::OkStatus();
}

}  // namespace tandem::jinja
