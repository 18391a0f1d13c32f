// The syntax tree of a template. Built by the parser, read by the interpreter; immutable then.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/text/jinja/value.h"

namespace tandem::jinja {

struct Expression {
  enum Kind {
    kConstant,
    kName,
    kList,
    kTuple,
    kDict,       // operands: key, value, key, value ...
    kAttribute,  // operands[0].name
    kItem,       // operands[0][operands[1]]
    kSlice,      // operands[0][operands[1]:operands[2]:operands[3]], bounds may be null
    kCall,       // operands[0](operands[1] ..., keywords)
    kFilter,     // operands[0] | name(operands[1] ..., keywords)
    kTest,       // operands[0] is name(operands[1] ...)
    kNot,
    kNegate,
    kPlus,  // unary
    kAnd,
    kOr,
    kIfElse,      // operands: condition, then, else (may be null)
    kCompare,     // operands[0] operators[0] operands[1] operators[1] operands[2] ...
    kArithmetic,  // operands[0] name operands[1]
    kConcat,
    kCaptured,  // the text of the block that a filter is applied to
  };

  Kind kind;
  int line;
  std::string name;
  Value constant;
  std::vector<std::unique_ptr<Expression>> operands;
  std::vector<std::pair<std::string, std::unique_ptr<Expression>>> keywords;
  std::vector<std::string> operators;
};

using ExpressionPtr = std::unique_ptr<Expression>;

struct Statement {
  enum Kind {
    kData,     // text
    kOutput,   // expression
    kIf,       // expression, body, otherwise
    kFor,      // for targets in expression if condition: body, else: otherwise
    kSet,      // targets = expression
    kCapture,  // targets = body's text, through expression; without targets: output
    kWith,     // targets = values, visible in body
    kMacro,    // macro name(targets), defaults for the last of them
    kBlock,    // body in a scope of its own
    kBreak,
    kContinue,
  };

  // A name, or an attribute of a namespace.
  struct Target {
    std::string name, attribute;
  };

  Kind kind;
  int line;
  std::string name;
  Value text;
  ExpressionPtr expression, condition;
  std::vector<Target> targets;
  bool unpack = false;  // `targets` came as a tuple
  std::vector<ExpressionPtr> values;
  std::vector<std::unique_ptr<Statement>> body, otherwise;
};

using Body = std::vector<std::unique_ptr<Statement>>;

}  // namespace tandem::jinja
