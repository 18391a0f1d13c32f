#include "common/transfer/local/peer_memory.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <string>

#include "absl/strings/str_cat.h"

namespace tandem {
namespace {

// Only memory files have seals; a page of one that cannot shrink can be read as long as there is
// memory (a hole costs the reader a page), unless it comes out of a pool of huge pages.
bool HoldsAlways(int fd, size_t size) {
  const int seals = fcntl(fd, F_GET_SEALS);
  struct stat file {};
  struct statfs system {};
  return seals >= 0 && (seals & F_SEAL_SHRINK) != 0 && fstat(fd, &file) == 0 &&
         static_cast<size_t>(file.st_size) >= size && fstatfs(fd, &system) == 0 &&
         system.f_type == TMPFS_MAGIC;
}

}  // namespace

std::unique_ptr<PeerMemory> PeerMemory::Map(pid_t peer, int fd, uintptr_t base, size_t size) {
  const std::string path = absl::StrCat("/proc/", peer, "/fd/", fd);
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (file < 0) return nullptr;
  void* mapped = MAP_FAILED;
  if (HoldsAlways(file, size)) mapped = mmap(nullptr, size, PROT_READ, MAP_SHARED, file, 0);
  close(file);
  if (mapped == MAP_FAILED) return nullptr;
  madvise(mapped, size, MADV_HUGEPAGE);  // a wish, not a need
  return std::unique_ptr<PeerMemory>(
      new PeerMemory(base, static_cast<const std::byte*>(mapped), size));
}

PeerMemory::~PeerMemory() { munmap(const_cast<std::byte*>(mapped_), size_); }

absl::Span<const std::byte> PeerMemory::At(uintptr_t source, size_t length) const {
  const uintptr_t offset = source - base_;
  if (source < base_ || offset > size_ || length > size_ - offset) return {};
  return {mapped_ + offset, length};
}

}  // namespace tandem
