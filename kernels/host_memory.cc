#include "kernels/host_memory.h"

#include <sys/mman.h>

#include <cstring>
#include <new>

namespace tandem {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kHugePage = size_t{2} << 20;

}  // namespace

AlignedBytes::AlignedBytes(int64_t size) : size_(size) {
  const size_t alignment = static_cast<size_t>(size) < kHugePage ? kAlignment : kHugePage;
  // aligned_alloc wants whole alignments; the rest of the last huge page is never touched.
  const size_t rounded = (static_cast<size_t>(size) + alignment - 1) / alignment * alignment;
  bytes_.reset(static_cast<std::byte*>(std::aligned_alloc(alignment, rounded)));
  if (bytes_ == nullptr && size > 0) throw std::bad_alloc();  // as operator new would
  if (alignment == kHugePage) madvise(bytes_.get(), size, MADV_HUGEPAGE);
  if (size > 0) std::memset(bytes_.get(), 0, size);
}

}  // namespace tandem
