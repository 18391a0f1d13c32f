// PeerMemory is the memory of another process of this host, mapped to be read: it can be copied by
// the processor alone, past the caches and with its checksum, where the kernel (process_vm_readv)
// looks up and copies page by page.
//
// The peer says which of its open files it is. Not trusted: a file that could shrink under the
// reader, or is shorter than claimed, is not mapped. Owned and used by one thread.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/types/span.h"

namespace tandem {

class PeerMemory {
 public:
  // `size` bytes at `base` in the process `peer`, the start of its file `fd`. Null: cannot be
  // mapped.
  static std::unique_ptr<PeerMemory> Map(pid_t peer, int fd, uintptr_t base, size_t size);
  ~PeerMemory();
  PeerMemory(const PeerMemory&) = delete;
  PeerMemory& operator=(const PeerMemory&) = delete;

  // What lies at `source` in the peer; may change at any time. Empty: not all of it is mapped here.
  absl::Span<const std::byte> At(uintptr_t source, size_t length) const;

 private:
  PeerMemory(uintptr_t base, const std::byte* mapped, size_t size)
      : base_(base), mapped_(mapped), size_(size) {}

  const uintptr_t base_;  // in the peer
  const std::byte* const mapped_;
  const size_t size_;
};

}  // namespace tandem
