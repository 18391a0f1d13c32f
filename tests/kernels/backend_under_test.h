// Makes the backends that one test suite runs over, with a thread team of their own.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/thread_team.h"
#include "kernels/reference/reference_backend.h"

namespace tandem {

// A backend by name: "reference", "avx2" or "avx512", the last two being the fast backend held to
// that instruction set.
class BackendUnderTest {
 public:
  BackendUnderTest(const std::string& name, int num_threads) : team_(num_threads) {
    if (name == "reference") {
      backend_ = MakeReferenceBackend(&team_);
    } else {
      backend_ = std::move(MakeSimdBackend(&team_, IsaNamed(name)).value());
    }
  }
  Backend* operator->() { return backend_.get(); }
  Backend& operator*() { return *backend_; }

  static CpuIsa IsaNamed(const std::string& name) {
    return name == "avx512" ? CpuIsa::kAvx512Vnni : CpuIsa::kAvx2;
  }

 private:
  ThreadTeam team_;
  std::unique_ptr<Backend> backend_;
};

// The fast backends that this processor can run; none on one without AVX2.
inline std::vector<std::string> FastBackends() {
  std::vector<std::string> names;
  for (const char* name : {"avx2", "avx512"}) {
    if (CpuHas(BackendUnderTest::IsaNamed(name))) names.push_back(name);
  }
  return names;
}

inline std::vector<std::string> RunnableBackends() {
  std::vector<std::string> names = FastBackends();
  names.insert(names.begin(), "reference");
  return names;
}

}  // namespace tandem
