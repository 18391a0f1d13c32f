// Text as a JSON string, appended to what is there.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace tandem {

// With its quotes. Characters beyond ASCII stay as they are; bytes that are not UTF-8 become
// U+FFFD.
void AppendJsonString(absl::string_view text, std::string* out);

}  // namespace tandem
