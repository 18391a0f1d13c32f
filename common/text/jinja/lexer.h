// Lexer cuts a Jinja template into tokens, with the whitespace control that chat templates are
// written for: trim_blocks and lstrip_blocks on, a single newline at the end of the file dropped.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tandem::jinja {

struct Token {
  enum Type {
    kData,  // literal text
    kVariableBegin,
    kVariableEnd,
    kBlockBegin,
    kBlockEnd,
    kName,
    kString,  // text holds the value, escapes resolved
    kInteger,
    kFloat,
    kOperator,
    kEnd,
  };
  Type type;
  std::string text;
  int line;
  int64_t integer = 0;
  double real = 0;
};

// The last token is kEnd. INVALID_ARGUMENT with the line for a syntax error.
absl::StatusOr<std::vector<Token>> Tokenize(absl::string_view source);

}  // namespace tandem::jinja
