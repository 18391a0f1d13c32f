// A library to preload into a program: it moves the program's wall clock by as many seconds as the
// file that CLOCK_OFFSET_FILE names says at that moment (one int64_t, mapped). The monotonic clock
// is left alone. Allocates nothing and asks the kernel directly, so that an allocator may look at
// the clock in its first call.
//
// Waits until a time of the wall clock go by the kernel's own: they end at once, or last for as
// long as the offset, which is harsher than what a real jump does to them.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>

namespace {

const std::atomic<int64_t>* offset_s = nullptr;  // what runs before the constructor has none

__attribute__((constructor)) void MapOffset() {
  const char* path = getenv("CLOCK_OFFSET_FILE");
  const int fd = path == nullptr ? -1 : open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  void* page = mmap(nullptr, sizeof(*offset_s), PROT_READ, MAP_SHARED, fd, 0);
  if (page != MAP_FAILED) offset_s = static_cast<const std::atomic<int64_t>*>(page);
  close(fd);
}

timespec WallClock(clockid_t clock) {
  timespec now{};
  syscall(SYS_clock_gettime, clock, &now);
  if (offset_s != nullptr) now.tv_sec += offset_s->load(std::memory_order_relaxed);
  return now;
}

}  // namespace

extern "C" int clock_gettime(clockid_t clock, timespec* now) noexcept {
  if (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE) {
    return static_cast<int>(syscall(SYS_clock_gettime, clock, now));
  }
  *now = WallClock(clock);
  return 0;
}

extern "C" int gettimeofday(timeval* now, void*) noexcept {
  const timespec wall = WallClock(CLOCK_REALTIME);
  *now = {wall.tv_sec, wall.tv_nsec / 1000};
  return 0;
}

extern "C" time_t time(time_t* now) noexcept {
  const timespec wall = WallClock(CLOCK_REALTIME);
  if (now != nullptr) *now = wall.tv_sec;
  return wall.tv_sec;
}
