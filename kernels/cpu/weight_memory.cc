#include "kernels/cpu/weight_memory.h"

#include <sys/mman.h>

#include <algorithm>

namespace tandem {
namespace {

// Many huge pages of 2 MB, so that little is lost at the ends. What is never touched costs nothing.
constexpr int64_t kChunkBytes = int64_t{32} << 20;
constexpr int64_t kAlignment = 64;

std::shared_ptr<std::byte> MapChunk(int64_t size) {
  void* base = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) return nullptr;
  madvise(base, size, MADV_HUGEPAGE);  // a wish: without huge pages it is only slower
  return {static_cast<std::byte*>(base), [size](std::byte* chunk) { munmap(chunk, size); }};
}

}  // namespace

std::shared_ptr<std::byte> WeightMemory::Allocate(int64_t size) {
  size = (size + kAlignment - 1) / kAlignment * kAlignment;
  if (chunk_ == nullptr || chunk_size_ - used_ < size) {
    chunk_size_ = std::max(size, kChunkBytes);
    chunk_ = MapChunk(chunk_size_);
    used_ = 0;
    if (chunk_ == nullptr) return nullptr;
  }
  std::byte* const piece = chunk_.get() + used_;
  used_ += size;
  return {chunk_, piece};
}

}  // namespace tandem
