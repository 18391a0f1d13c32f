// Whether text from a model file is well-formed UTF-8. Internal to common/weights. Pure.
#pragma once

#include "absl/strings/string_view.h"

namespace tandem {

// No overlong forms, no surrogates, nothing above U+10FFFF.
bool IsUtf8(absl::string_view text);

}  // namespace tandem
