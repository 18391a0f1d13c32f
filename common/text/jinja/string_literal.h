// The escapes in a template's string literals, as Python resolves them.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tandem::jinja {

// `inner` is what stands between the quotes. INVALID_ARGUMENT for a broken escape or a surrogate,
// UNIMPLEMENTED for \N{...}.
absl::StatusOr<std::string> UnescapeStringLiteral(absl::string_view inner);

}  // namespace tandem::jinja
