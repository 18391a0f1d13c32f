// Parser turns a template's source into its syntax tree. What this interpreter cannot do is an
// error here, so that it shows at start-up and not in the middle of a conversation.
#pragma once

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/text/jinja/ast.h"

namespace tandem::jinja {

// INVALID_ARGUMENT for a syntax error, UNIMPLEMENTED for statements, filters, tests, functions and
// methods that are not supported; the message names the line.
absl::StatusOr<Body> Parse(absl::string_view source);

}  // namespace tandem::jinja
