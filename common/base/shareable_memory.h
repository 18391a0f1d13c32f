// ShareableMemory: zeroed memory of this process, on huge pages where possible, that another
// process of the same user may map and read if it is told SharedRegion. Thread-safe.
//
// Where the kernel gives huge pages to private memory only (before 6.1) the memory is private and
// cannot be mapped: its owner reads it all day, a peer now and then. Also where the system never
// overcommits memory, and beyond the process's limit of a file's size.
#pragma once

#include <cstddef>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace tandem {

// Memory that starts at the start of the file `fd` of this process. Not shared: fd is -1.
struct SharedRegion {
  int fd = -1;
  absl::Span<const std::byte> memory;
};

class ShareableMemory {
 public:
  // Pages are backed when first touched. RESOURCE_EXHAUSTED: no address space for it.
  // REQUIRES: size > 0.
  // `shared` false: private in any case, which costs less to back.
  static absl::StatusOr<std::unique_ptr<ShareableMemory>> Create(size_t size, bool shared = true);
  ~ShareableMemory();
  ShareableMemory(const ShareableMemory&) = delete;
  ShareableMemory& operator=(const ShareableMemory&) = delete;

  // Gives [begin, end) its pages now; contents do not change. A huge page if it is the whole of
  // one (2 MiB at a multiple of that). False when the kernel cannot do it (before 5.14).
  bool Back(size_t begin, size_t end);

  // Starts at a multiple of a huge page.
  absl::Span<std::byte> memory() { return {base_, size_}; }
  // Valid as long as this lives.
  SharedRegion region() const { return {fd_, {base_, size_}}; }

 private:
  ShareableMemory(int fd, std::byte* base, size_t size) : fd_(fd), base_(base), size_(size) {}

  const int fd_;
  std::byte* const base_;
  const size_t size_;
};

}  // namespace tandem
