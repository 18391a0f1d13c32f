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

class BackendUnderTest {
 public:
  BackendUnderTest(const std::string& profile, int num_threads) : team_(num_threads) {
    backend_ = profile == "reference" ? MakeReferenceBackend(&team_)
                                      : std::move(MakeAvx2Backend(&team_).value());
  }
  Backend* operator->() { return backend_.get(); }
  Backend& operator*() { return *backend_; }

 private:
  ThreadTeam team_;
  std::unique_ptr<Backend> backend_;
};

// The profiles that this processor can run.
inline std::vector<std::string> RunnableProfiles() {
  std::vector<std::string> profiles = {"reference"};
  if (CpuHasAvx2()) profiles.push_back("cpu-avx2");
  return profiles;
}

}  // namespace tandem
