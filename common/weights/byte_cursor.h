// ByteCursor reads little-endian values from memory front to back and refuses to go past the end.
// Internal to common/weights. Not thread-safe; does not own the bytes.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace tandem {

static_assert(std::endian::native == std::endian::little, "model files are mapped as they are");

class ByteCursor {
 public:
  explicit ByteCursor(absl::Span<const std::byte> bytes) : bytes_(bytes) {}

  uint64_t position() const { return position_; }
  uint64_t remaining() const { return bytes_.size() - position_; }

  template <class T>
  absl::StatusOr<T> Read() {
    if (remaining() < sizeof(T)) return Truncated(sizeof(T));
    T value;
    std::memcpy(&value, bytes_.data() + position_, sizeof(T));
    position_ += sizeof(T);
    return value;
  }

  absl::StatusOr<absl::Span<const std::byte>> ReadBytes(uint64_t size) {
    if (remaining() < size) return Truncated(size);
    const absl::Span<const std::byte> result = bytes_.subspan(position_, size);
    position_ += size;
    return result;
  }

  // A 64-bit length, then that many characters.
  absl::StatusOr<absl::string_view> ReadString(uint64_t max_size) {
    const absl::StatusOr<uint64_t> size = Read<uint64_t>();
    if (!size.ok()) return size.status();
    if (*size > max_size) {
      return absl::InvalidArgumentError(
          absl::StrCat("string of ", *size, " bytes, the limit is ", max_size));
    }
    const absl::StatusOr<absl::Span<const std::byte>> text = ReadBytes(*size);
    if (!text.ok()) return text.status();
    return absl::string_view(reinterpret_cast<const char*>(text->data()), text->size());
  }

 private:
  absl::Status Truncated(uint64_t wanted) const {
    return absl::InvalidArgumentError(absl::StrCat("the file ends too early: ", wanted,
                                                   " bytes wanted at offset ", position_, ", ",
                                                   remaining(), " left"));
  }

  absl::Span<const std::byte> bytes_;
  uint64_t position_ = 0;
};

}  // namespace tandem
