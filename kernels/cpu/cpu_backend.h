// The fast CPU backend: weights repacked for AVX2, activations quantized to int8 where the weights
// are quantized.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/parallel_for.h"

namespace tandem {

// True if this processor has AVX2, FMA and F16C.
bool CpuHasAvx2();

// Profile "cpu-avx2". Returns FAILED_PRECONDITION on a processor without AVX2, FMA and F16C.
// `parallel` outlives it.
absl::StatusOr<std::unique_ptr<Backend>> MakeAvx2Backend(ParallelFor* parallel);

// The best backend for this processor: "cpu-avx2", else the reference backend (profile
// "reference").
absl::StatusOr<std::unique_ptr<Backend>> MakeCpuBackend(ParallelFor* parallel);

}  // namespace tandem
