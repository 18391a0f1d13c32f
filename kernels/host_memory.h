// Host memory of the CPU backends: aligned for vectors and cache lines, zeroed, owned by one
// object.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "kernels/backend.h"

namespace tandem {

class AlignedBytes {
 public:
  AlignedBytes() = default;
  // 64-byte aligned. Large ones ask the system for huge pages, which make long passes over them
  // cheaper to address.
  explicit AlignedBytes(int64_t size);
  std::byte* get() const { return bytes_.get(); }
  int64_t size() const { return size_; }

 private:
  struct Free {
    void operator()(std::byte* p) const { std::free(p); }
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
