// A whole file mapped read-only. Internal to common/weights. Thread-safe: immutable.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace tandem {

class MappedFile {
 public:
  // Regular, non-empty files only. The file is closed again before this returns; the mapping stays.
  static absl::StatusOr<std::shared_ptr<const MappedFile>> Open(const std::string& path);

  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  absl::Span<const std::byte> bytes() const { return {data_, size_}; }

  // Takes this process's pages of the mapping away: they count no more as its memory, and come back
  // when touched.
  void ReleasePages() const;

 private:
  MappedFile(const std::byte* data, size_t size) : data_(data), size_(size) {}

  const std::byte* const data_;
  const size_t size_;
};

}  // namespace tandem
