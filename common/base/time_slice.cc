#include "common/base/time_slice.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

namespace tandem {
namespace {

// The kernel's sched_attr in its first version; glibc of Debian 12 has none.
struct SchedAttr {
  uint32_t size = sizeof(SchedAttr);
  uint32_t policy = SCHED_OTHER;
  uint64_t flags = 0;
  int32_t nice = 0;
  uint32_t priority = 0;
  uint64_t runtime_ns = 0;  // of a normal thread: its slice; 0: the default
  uint64_t deadline_ns = 0;
  uint64_t period_ns = 0;
};

// Changes nothing else of a normal thread.
void SetSlice(uint64_t runtime_ns) {
  SchedAttr attr;
  if (syscall(SYS_sched_getattr, 0, &attr, sizeof(attr), 0) != 0 || attr.policy != SCHED_OTHER) {
    return;
  }
  attr.runtime_ns = runtime_ns;
  (void)syscall(SYS_sched_setattr, 0, &attr, 0);
}

}  // namespace

void AskForShortSlices() { SetSlice(100'000); }
void AskForDefaultSlices() { SetSlice(0); }

}  // namespace tandem
