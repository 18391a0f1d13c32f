// The fast CPU backend: weights repacked for vector instructions, activations quantized to int8
// where the weights are quantized. One numeric profile, "cpu-int8", whatever the instruction set:
// integer dot products are exact, and floats are combined in the same order by all of them.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "kernels/backend.h"
#include "kernels/parallel_for.h"

namespace tandem {

// The instruction sets that it is written for, the better one last.
enum class CpuIsa : uint8_t {
  kAvx2,        // AVX2, FMA and F16C
  kAvx512Vnni,  // those, and AVX-512 F, BW, DQ, VL and VNNI
};
inline constexpr CpuIsa kAllCpuIsas[] = {CpuIsa::kAvx2, CpuIsa::kAvx512Vnni};

absl::string_view CpuIsaName(CpuIsa isa);
// True if this processor, and its operating system, can run it.
bool CpuHas(CpuIsa isa);

// Returns FAILED_PRECONDITION on a processor without `isa`. `parallel` outlives the backend.
absl::StatusOr<std::unique_ptr<Backend>> MakeSimdBackend(ParallelFor* parallel, CpuIsa isa);
// The same with the best instruction set of this processor.
absl::StatusOr<std::unique_ptr<Backend>> MakeSimdBackend(ParallelFor* parallel);

// The best backend for this processor: the fast one, or the reference backend where it cannot run.
absl::StatusOr<std::unique_ptr<Backend>> MakeCpuBackend(ParallelFor* parallel);

}  // namespace tandem
