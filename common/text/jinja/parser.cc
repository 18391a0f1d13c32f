#include "common/text/jinja/parser.h"

#include <algorithm>
#include <initializer_list>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/text/jinja/builtins.h"
#include "common/text/jinja/expression_parser.h"
#include "common/text/jinja/lexer.h"

namespace tandem::jinja {
namespace {

constexpr int kMaxBlockNesting = 60;

class StatementParser {
 public:
  explicit StatementParser(std::vector<Token> tokens) : in_(std::move(tokens)) {}

  absl::StatusOr<Body> ParseTemplate() {
    ASSIGN_OR_RETURN(Body body, ParseBody({}));
    for (const auto& [name, line] : in_.called_names()) {
      if (IsFunction(name) || assigned_.count(name) > 0) continue;
      return absl::UnimplementedError(
          absl::StrCat("line ", line, ": the function ", name, " is not supported"));
    }
    return body;
  }

 private:
  using StatementPtr = std::unique_ptr<Statement>;
  using Result = absl::StatusOr<StatementPtr>;

  StatementPtr Make(Statement::Kind kind) const {
    auto statement = std::make_unique<Statement>();
    statement->kind = kind;
    statement->line = in_.current().line;
    return statement;
  }

  absl::Status ExpectBlockEnd() {
    if (in_.current().type != Token::kBlockEnd) {
      return in_.Error(absl::StrCat("expected '%}', found '", in_.current().text, "'"));
    }
    in_.Next();
    return absl::OkStatus();
  }

  // Statements up to one of the tags in `ends`, whose name is then current; or to the end.
  absl::StatusOr<Body> ParseBody(std::initializer_list<absl::string_view> ends) {
    if (nesting_ >= kMaxBlockNesting) return in_.Error("blocks are nested too deeply");
    ++nesting_;
    Body body;
    while (true) {
      const Token& token = in_.current();
      if (token.type == Token::kEnd) {
        if (ends.size() > 0) return in_.Error(absl::StrCat("expected ", *(ends.end() - 1)));
        break;
      }
      if (token.type == Token::kData) {
        StatementPtr data = Make(Statement::kData);
        data->text = Value::Trusted(token.text);
        body.push_back(std::move(data));
        in_.Next();
      } else if (token.type == Token::kVariableBegin) {
        StatementPtr output = Make(Statement::kOutput);
        in_.Next();
        ASSIGN_OR_RETURN(output->expression, in_.ParseTuple(/*with_if=*/true));
        if (in_.current().type != Token::kVariableEnd) {
          return in_.Error(absl::StrCat("expected '}}', found '", in_.current().text, "'"));
        }
        in_.Next();
        body.push_back(std::move(output));
      } else {
        in_.Next();
        if (std::any_of(ends.begin(), ends.end(),
                        [&](absl::string_view end) { return in_.AtName(end); }))
          break;
        ASSIGN_OR_RETURN(StatementPtr statement, ParseStatement());
        body.push_back(std::move(statement));
      }
    }
    --nesting_;
    return body;
  }

  // ParseBody after the end of a tag, for blocks with a single closing tag.
  absl::StatusOr<Body> ParseBlock(absl::string_view end) {
    RETURN_IF_ERROR(ExpectBlockEnd());
    ASSIGN_OR_RETURN(Body body, ParseBody({end}));
    in_.Next();
    RETURN_IF_ERROR(ExpectBlockEnd());
    return body;
  }

  Result ParseStatement() {
    if (in_.TakeName("if")) return ParseIf();
    if (in_.TakeName("for")) return ParseFor();
    if (in_.TakeName("set")) return ParseSet();
    if (in_.TakeName("macro")) return ParseMacro();
    if (in_.TakeName("with")) return ParseWith();
    if (in_.TakeName("filter")) return ParseFilterBlock();
    if (in_.TakeName("break")) return ParseLoopControl(Statement::kBreak);
    if (in_.TakeName("continue")) return ParseLoopControl(Statement::kContinue);
    if (in_.TakeName("generation")) {
      StatementPtr statement = Make(Statement::kBlock);
      const int loops = std::exchange(loops_, 0);
      ASSIGN_OR_RETURN(statement->body, ParseBlock("endgeneration"));
      loops_ = loops;
      return statement;
    }
    for (const absl::string_view known : {"include", "import", "from", "extends", "block", "call",
                                          "autoescape", "do", "trans", "print", "debug"}) {
      if (in_.AtName(known)) return in_.Unsupported(absl::StrCat("the tag ", known));
    }
    return in_.Error(absl::StrCat("unknown tag '", in_.current().text, "'"));
  }

  Result ParseIf() {
    StatementPtr statement = Make(Statement::kIf);
    ASSIGN_OR_RETURN(statement->expression, in_.ParseTuple(/*with_if=*/false));
    RETURN_IF_ERROR(ExpectBlockEnd());
    ASSIGN_OR_RETURN(statement->body, ParseBody({"elif", "else", "endif"}));
    if (in_.TakeName("elif")) {
      if (nesting_ >= kMaxBlockNesting) return in_.Error("blocks are nested too deeply");
      ++nesting_;
      ASSIGN_OR_RETURN(StatementPtr next, ParseIf());
      --nesting_;
      statement->otherwise.push_back(std::move(next));
      return statement;
    }
    if (in_.TakeName("else")) {
      ASSIGN_OR_RETURN(statement->otherwise, ParseBlock("endif"));
      return statement;
    }
    in_.Next();  // endif
    RETURN_IF_ERROR(ExpectBlockEnd());
    return statement;
  }

  // Names, or name.attribute where that is allowed, with commas between them.
  absl::Status ParseTargets(bool with_attributes, Statement& statement) {
    const bool parentheses = in_.TakeOperator("(");
    do {
      if (!statement.targets.empty() && in_.current().type != Token::kName) break;
      Statement::Target target;
      ASSIGN_OR_RETURN(target.name, in_.ExpectName());
      if (with_attributes && in_.TakeOperator(".")) {
        ASSIGN_OR_RETURN(target.attribute, in_.ExpectName());
      } else {
        assigned_.insert(target.name);
      }
      statement.targets.push_back(std::move(target));
      statement.unpack = statement.unpack || in_.AtOperator(",");
    } while (in_.TakeOperator(","));
    return parentheses ? in_.ExpectOperator(")") : absl::OkStatus();
  }

  Result ParseFor() {
    StatementPtr statement = Make(Statement::kFor);
    RETURN_IF_ERROR(ParseTargets(/*with_attributes=*/false, *statement));
    if (!in_.TakeName("in")) return in_.Error("expected 'in'");
    ASSIGN_OR_RETURN(statement->expression, in_.ParseTuple(/*with_if=*/false));
    if (in_.TakeName("if")) {
      ASSIGN_OR_RETURN(statement->condition, in_.ParseExpression());
    }
    if (in_.AtName("recursive")) return in_.Unsupported("a recursive loop");
    RETURN_IF_ERROR(ExpectBlockEnd());
    ++loops_;
    ASSIGN_OR_RETURN(statement->body, ParseBody({"else", "endfor"}));
    --loops_;
    if (in_.TakeName("else")) {
      ASSIGN_OR_RETURN(statement->otherwise, ParseBlock("endfor"));
      return statement;
    }
    in_.Next();  // endfor
    RETURN_IF_ERROR(ExpectBlockEnd());
    return statement;
  }

  Result ParseSet() {
    StatementPtr statement = Make(Statement::kSet);
    RETURN_IF_ERROR(ParseTargets(/*with_attributes=*/true, *statement));
    if (in_.TakeOperator("=")) {
      ASSIGN_OR_RETURN(statement->expression, in_.ParseTuple(/*with_if=*/true));
      RETURN_IF_ERROR(ExpectBlockEnd());
      return statement;
    }
    if (statement->unpack) return in_.Error("a block sets one variable");
    statement->kind = Statement::kCapture;
    if (in_.TakeOperator("|")) {
      ASSIGN_OR_RETURN(statement->expression, ParseCapturedFilter());
    }
    ASSIGN_OR_RETURN(statement->body, ParseScopedBlock("endset"));
    return statement;
  }

  absl::StatusOr<ExpressionPtr> ParseCapturedFilter() {
    auto captured = std::make_unique<Expression>();
    captured->kind = Expression::kCaptured;
    captured->line = in_.current().line;
    return in_.ParseFilterChain(std::move(captured));
  }

  // A block whose text is captured: no break or continue leads out of it.
  absl::StatusOr<Body> ParseScopedBlock(absl::string_view end) {
    const int loops = std::exchange(loops_, 0);
    absl::StatusOr<Body> body = ParseBlock(end);
    loops_ = loops;
    return body;
  }

  Result ParseFilterBlock() {
    StatementPtr statement = Make(Statement::kCapture);
    ASSIGN_OR_RETURN(statement->expression, ParseCapturedFilter());
    ASSIGN_OR_RETURN(statement->body, ParseScopedBlock("endfilter"));
    return statement;
  }

  Result ParseWith() {
    StatementPtr statement = Make(Statement::kWith);
    while (in_.current().type != Token::kBlockEnd) {
      if (!statement->targets.empty()) RETURN_IF_ERROR(in_.ExpectOperator(","));
      Statement::Target target;
      ASSIGN_OR_RETURN(target.name, in_.ExpectName());
      assigned_.insert(target.name);
      RETURN_IF_ERROR(in_.ExpectOperator("="));
      ASSIGN_OR_RETURN(ExpressionPtr value, in_.ParseExpression());
      statement->targets.push_back(std::move(target));
      statement->values.push_back(std::move(value));
    }
    ASSIGN_OR_RETURN(statement->body, ParseBlock("endwith"));
    return statement;
  }

  Result ParseMacro() {
    StatementPtr statement = Make(Statement::kMacro);
    ASSIGN_OR_RETURN(statement->name, in_.ExpectName());
    assigned_.insert(statement->name);
    RETURN_IF_ERROR(in_.ExpectOperator("("));
    while (!in_.TakeOperator(")")) {
      if (!statement->targets.empty()) RETURN_IF_ERROR(in_.ExpectOperator(","));
      Statement::Target parameter;
      ASSIGN_OR_RETURN(parameter.name, in_.ExpectName());
      assigned_.insert(parameter.name);
      statement->targets.push_back(std::move(parameter));
      if (in_.TakeOperator("=")) {
        ASSIGN_OR_RETURN(ExpressionPtr value, in_.ParseExpression());
        statement->values.push_back(std::move(value));
      } else if (!statement->values.empty()) {
        return in_.Error("a parameter without a default follows one with a default");
      }
    }
    ASSIGN_OR_RETURN(statement->body, ParseScopedBlock("endmacro"));
    return statement;
  }

  Result ParseLoopControl(Statement::Kind kind) {
    StatementPtr statement = Make(kind);
    if (loops_ == 0) return in_.Error("break or continue outside a loop");
    RETURN_IF_ERROR(ExpectBlockEnd());
    return statement;
  }

  ExpressionParser in_;
  std::set<std::string> assigned_;  // everything that may hold a macro
  int nesting_ = 0;
  int loops_ = 0;
};

}  // namespace

absl::StatusOr<Body> Parse(absl::string_view source) {
  ASSIGN_OR_RETURN(std::vector<Token> tokens, Tokenize(source));
  return StatementParser(std::move(tokens)).ParseTemplate();
}

}  // namespace tandem::jinja
