#include "kernels/cpu/cpu_backend.h"

#include "kernels/reference/reference_backend.h"

namespace tandem {

absl::string_view CpuIsaName(CpuIsa isa) {
  return isa == CpuIsa::kAvx512Vnni ? "AVX-512 VNNI" : "AVX2";
}

bool CpuHas(CpuIsa isa) {
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("f16c");
  if (isa == CpuIsa::kAvx2) return avx2;
  return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512vnni");
}

absl::StatusOr<std::unique_ptr<Backend>> MakeSimdBackend(ParallelFor* parallel) {
  return MakeSimdBackend(parallel,
                         CpuHas(CpuIsa::kAvx512Vnni) ? CpuIsa::kAvx512Vnni : CpuIsa::kAvx2);
}

absl::StatusOr<std::unique_ptr<Backend>> MakeCpuBackend(ParallelFor* parallel) {
  if (CpuHas(CpuIsa::kAvx2)) return MakeSimdBackend(parallel);
  return MakeReferenceBackend(parallel);
}

}  // namespace tandem
