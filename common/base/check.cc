#include "common/base/check.h"

#include <cstdio>
#include <cstdlib>
#include <string>

namespace tandem {

void CheckFailed(const char* file, int line, const char* condition, absl::string_view message) {
  std::fprintf(stderr, "%s:%d: CHECK failed: %s %s\n", file, line, condition,
               std::string(message).c_str());
  std::abort();
}

}  // namespace tandem
