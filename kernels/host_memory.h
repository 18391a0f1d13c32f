// Host memory of the CPU backends: aligned for vectors and cache lines, zeroed, owned by one
// object.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

#include "kernels/backend.h"

namespace tandem {

class AlignedBytes {
 public:
  static constexpr std::align_val_t kAlignment{64};

  AlignedBytes() = default;
  explicit AlignedBytes(int64_t size)
      : bytes_(static_cast<std::byte*>(::operator new[](size, kAlignment))), size_(size) {
    std::memset(bytes_.get(), 0, size);
  }
  std::byte* get() const { return bytes_.get(); }
  int64_t size() const { return size_; }

 private:
  struct Free {
    void operator()(std::byte* p) const { ::operator delete[](p, kAlignment); }
  };
  std::unique_ptr<std::byte[], Free> bytes_;
  int64_t size_ = 0;
};

class HostFloats final : public FloatBuffer {
 public:
  explicit HostFloats(int64_t count)
      : bytes_(count * static_cast<int64_t>(sizeof(float))), size_(count) {}
  float* data() const override { return reinterpret_cast<float*>(bytes_.get()); }
  int64_t size() const override { return size_; }

 private:
  AlignedBytes bytes_;
  int64_t size_;
};

}  // namespace tandem
