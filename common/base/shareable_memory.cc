#include "common/base/shareable_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"

namespace tandem {
namespace {

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

constexpr uintptr_t kHugePage = uintptr_t{2} << 20;
constexpr uintptr_t kPage = 4096;

// Whether a file's pages can be had when they are touched, as private memory's can: not where the
// system counts what it promised (a file's pages count when touched, and SIGBUS says no), nor
// beyond the largest file that this process may make.
bool MayBeAFile(size_t size) {
  int overcommit = 0;
  std::ifstream("/proc/sys/vm/overcommit_memory") >> overcommit;
  constexpr int kNever = 2;
  rlimit largest{};
  return overcommit != kNever && getrlimit(RLIMIT_FSIZE, &largest) == 0 && size <= largest.rlim_cur;
}

// A file of `size` bytes that never shrinks: who maps it may touch all of it. -1: none.
int MakeFile(size_t size) {
  if (!MayBeAFile(size)) return -1;
  const int fd = memfd_create("tandem-shareable", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return -1;
  if (ftruncate(fd, static_cast<off_t>(size)) == 0 &&
      fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0) {
    return fd;
  }
  close(fd);
  return -1;
}

// `size` bytes at a multiple of a huge page. MAP_FAILED: no address space.
void* MapAligned(int fd, size_t size) {
  void* const all = mmap(nullptr, size + kHugePage, PROT_NONE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (all == MAP_FAILED) return all;
  const auto start = reinterpret_cast<uintptr_t>(all);
  const uintptr_t base = (start + kHugePage - 1) / kHugePage * kHugePage;
  const uintptr_t end = base + (size + kPage - 1) / kPage * kPage;
  if (base > start) munmap(all, base - start);
  if (start + size + kHugePage > end) {
    munmap(reinterpret_cast<void*>(end), start + size + kHugePage - end);
  }
  const int flags = fd >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;
  void* const at = reinterpret_cast<void*>(base);
  void* const mapped = mmap(at, size, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, 0);
  if (mapped == MAP_FAILED) munmap(at, size);
  return mapped;
}

// Whether the piece is one huge page now. Shared memory gets one only this way where the system's
// setting for it is "never", its default.
bool Collapse(uintptr_t begin, uintptr_t end) {
  void* const piece = reinterpret_cast<void*>(begin);
  return madvise(piece, kPage, MADV_POPULATE_WRITE) == 0 &&
         madvise(piece, end - begin, MADV_COLLAPSE) == 0;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ShareableMemory>> ShareableMemory::Create(size_t size, bool shared) {
  TANDEM_CHECK(size > 0);
  int fd = shared ? MakeFile(size) : -1;
  void* base = MapAligned(fd, size);
  const auto first = reinterpret_cast<uintptr_t>(base);
  if (fd >= 0 && base != MAP_FAILED && size >= kHugePage && !Collapse(first, first + kHugePage)) {
    munmap(base, size);
    close(fd);
    fd = -1;
    base = MapAligned(fd, size);
  }
  if (base == MAP_FAILED) {
    const int error = errno;
    if (fd >= 0) close(fd);
    return absl::ResourceExhaustedError(
        absl::StrCat("no memory of ", size, " bytes: ", std::strerror(error)));
  }
  madvise(base, size, MADV_HUGEPAGE);  // a wish, not a need
  return std::unique_ptr<ShareableMemory>(
      new ShareableMemory(fd, static_cast<std::byte*>(base), size));
}

bool ShareableMemory::Back(size_t begin, size_t end) {
  const auto base = reinterpret_cast<uintptr_t>(base_);
  if (fd_ >= 0) (void)Collapse(base + begin, base + end);
  return madvise(base_ + begin, end - begin, MADV_POPULATE_WRITE) == 0;
}

ShareableMemory::~ShareableMemory() {
  munmap(base_, size_);
  if (fd_ >= 0) close(fd_);
}

}  // namespace tandem
