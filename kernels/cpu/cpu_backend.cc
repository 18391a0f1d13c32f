#include "kernels/cpu/cpu_backend.h"

#include "kernels/reference/reference_backend.h"

namespace tandem {

bool CpuHasAvx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("f16c");
}

absl::StatusOr<std::unique_ptr<Backend>> MakeCpuBackend(ParallelFor* parallel) {
  if (CpuHasAvx2()) return MakeAvx2Backend(parallel);
  return MakeReferenceBackend(parallel);
}

}  // namespace tandem
