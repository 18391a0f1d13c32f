// Reads all that a ModelFile gives, so that a sanitizer sees a view that reaches outside its file.
// For tests and fuzzing.
#pragma once

#include <cstdint>

#include "common/weights/model_file.h"

namespace tandem {

// Returns a sum over it, which the compiler cannot leave out.
uint64_t ReadEverything(const ModelFile& model);

}  // namespace tandem
