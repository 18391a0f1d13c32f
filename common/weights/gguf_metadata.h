// The key/value part of a GGUF file, and typed access to it with errors that name the key. Internal
// to common/weights. Views into the file's bytes: valid as long as they are. Thread-compatible.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace tandem {

// Numbers as they are in the file.
enum class GgufType : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

absl::string_view GgufTypeName(GgufType type);
// Bytes of one number; 0 for strings, arrays and unknown types.
size_t GgufTypeBytes(GgufType type);

struct GgufValue {
  GgufType type = GgufType::kUint8;
  GgufType element_type = GgufType::kUint8;  // of an array
  uint64_t count = 0;                        // elements of an array
  absl::Span<const std::byte> payload;       // the number, the string's characters, or the elements
};

// A name from a file, made safe for a log line: quoted, escaped, cut.
std::string QuotedName(absl::string_view name);

// "key 'x': what".
absl::Status KeyError(absl::StatusCode code, absl::string_view key, absl::string_view what);

class GgufMetadata {
 public:
  // Refuses a key that is there already. The value's payload has been checked against the file's
  // end.
  absl::Status Add(absl::string_view key, const GgufValue& value);

  const GgufValue* Find(absl::string_view key) const;
  size_t size() const { return values_.size(); }

  // Each getter fails when the key is absent, holds another type, or is out of [min, max]; the
  // optional ones accept absence. Any integer width will do, and either float.
  absl::StatusOr<int64_t> Integer(absl::string_view key, int64_t min, int64_t max) const;
  absl::StatusOr<std::optional<int64_t>> OptionalInteger(absl::string_view key, int64_t min,
                                                         int64_t max) const;
  absl::StatusOr<std::optional<double>> OptionalFloat(absl::string_view key) const;
  absl::StatusOr<std::optional<bool>> OptionalBool(absl::string_view key) const;
  // Strings are checked to be UTF-8.
  absl::StatusOr<std::string> String(absl::string_view key) const;
  absl::StatusOr<std::optional<std::string>> OptionalString(absl::string_view key) const;
  absl::StatusOr<std::vector<std::string>> StringArrayOrEmpty(absl::string_view key) const;
  absl::StatusOr<std::vector<int64_t>> IntegerArrayOrEmpty(absl::string_view key) const;

 private:
  absl::flat_hash_map<std::string, GgufValue> values_;
};

}  // namespace tandem
