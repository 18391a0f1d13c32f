// The reference backend: weights dequantized to float, plain loops. The answer that faster backends
// are tested against; far too slow and too large in memory for daily use.
#pragma once

#include <memory>

#include "kernels/backend.h"
#include "kernels/parallel_for.h"

namespace tandem {

// `parallel` outlives the backend.
std::unique_ptr<Backend> MakeReferenceBackend(ParallelFor* parallel);

}  // namespace tandem
