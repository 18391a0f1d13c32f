#include "kernels/cpu/cpu_backend.h"

#include <cpuid.h>

#include "kernels/reference/reference_backend.h"

namespace tandem {
namespace {

// Bit `bit` of ecx of a CPUID leaf, for features whose names not every compiler's
// __builtin_cpu_supports knows. That the system saves the registers is checked with the others.
bool CpuidEcx(unsigned leaf, int bit) {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid_count(leaf, 0, &eax, &ebx, &ecx, &edx) != 0 && (ecx >> bit & 1u) != 0;
}
bool CpuHasF16c() { return CpuidEcx(1, 29); }
bool CpuHasVnni() { return CpuidEcx(7, 11); }

}  // namespace

absl::string_view CpuIsaName(CpuIsa isa) {
  return isa == CpuIsa::kAvx512Vnni ? "AVX-512 VNNI" : "AVX2";
}

bool CpuHas(CpuIsa isa) {
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && CpuHasF16c();
  if (isa == CpuIsa::kAvx2) return avx2;
  return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && CpuHasVnni();
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
