#include "common/weights/gguf_metadata.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/weights/byte_cursor.h"
#include "common/weights/utf8.h"

namespace tandem {
namespace {

std::string Describe(const GgufValue& value) {
  if (value.type != GgufType::kArray) return std::string(GgufTypeName(value.type));
  return absl::StrCat("array of ", value.count, " ", GgufTypeName(value.element_type));
}

absl::Status WrongType(absl::string_view key, absl::string_view expected, const GgufValue& found) {
  return KeyError(absl::StatusCode::kInvalidArgument, key,
                  absl::StrCat("expected ", expected, ", found ", Describe(found)));
}

absl::Status Missing(absl::string_view key) {
  return KeyError(absl::StatusCode::kInvalidArgument, key, "missing");
}

template <class T>
T Load(absl::Span<const std::byte> bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof(T));
  return value;
}

// nullopt: not an integer type. An unsigned value beyond int64 becomes its largest, which no
// caller's range includes.
std::optional<int64_t> LoadInteger(GgufType type, absl::Span<const std::byte> bytes) {
  switch (type) {
    case GgufType::kUint8:
      return Load<uint8_t>(bytes);
    case GgufType::kInt8:
      return Load<int8_t>(bytes);
    case GgufType::kUint16:
      return Load<uint16_t>(bytes);
    case GgufType::kInt16:
      return Load<int16_t>(bytes);
    case GgufType::kUint32:
      return Load<uint32_t>(bytes);
    case GgufType::kInt32:
      return Load<int32_t>(bytes);
    case GgufType::kInt64:
      return Load<int64_t>(bytes);
    case GgufType::kUint64:
      return static_cast<int64_t>(
          std::min<uint64_t>(Load<uint64_t>(bytes), std::numeric_limits<int64_t>::max()));
    default:
      return std::nullopt;
  }
}

absl::string_view AsText(absl::Span<const std::byte> bytes) {
  return absl::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

}  // namespace

absl::string_view GgufTypeName(GgufType type) {
  switch (type) {
    case GgufType::kUint8:
      return "uint8";
    case GgufType::kInt8:
      return "int8";
    case GgufType::kUint16:
      return "uint16";
    case GgufType::kInt16:
      return "int16";
    case GgufType::kUint32:
      return "uint32";
    case GgufType::kInt32:
      return "int32";
    case GgufType::kFloat32:
      return "float32";
    case GgufType::kBool:
      return "bool";
    case GgufType::kString:
      return "string";
    case GgufType::kArray:
      return "array";
    case GgufType::kUint64:
      return "uint64";
    case GgufType::kInt64:
      return "int64";
    case GgufType::kFloat64:
      return "float64";
  }
  return "unknown type";
}

size_t GgufTypeBytes(GgufType type) {
  switch (type) {
    case GgufType::kUint8:
    case GgufType::kInt8:
    case GgufType::kBool:
      return 1;
    case GgufType::kUint16:
    case GgufType::kInt16:
      return 2;
    case GgufType::kUint32:
    case GgufType::kInt32:
    case GgufType::kFloat32:
      return 4;
    case GgufType::kUint64:
    case GgufType::kInt64:
    case GgufType::kFloat64:
      return 8;
    case GgufType::kString:
    case GgufType::kArray:
      return 0;
  }
  return 0;
}

std::string QuotedName(absl::string_view name) {
  constexpr size_t kMaxShown = 100;
  return absl::StrCat("'", absl::CHexEscape(name.substr(0, kMaxShown)),
                      name.size() > kMaxShown ? "...'" : "'");
}

absl::Status KeyError(absl::StatusCode code, absl::string_view key, absl::string_view what) {
  return absl::Status(code, absl::StrCat("key ", QuotedName(key), ": ", what));
}

absl::Status GgufMetadata::Add(absl::string_view key, const GgufValue& value) {
  if (!values_.emplace(key, value).second) {
    return KeyError(absl::StatusCode::kInvalidArgument, key, "appears twice");
  }
  return absl::OkStatus();
}

const GgufValue* GgufMetadata::Find(absl::string_view key) const {
  const auto it = values_.find(key);
  return it == values_.end() ? nullptr : &it->second;
}

absl::StatusOr<std::optional<int64_t>> GgufMetadata::OptionalInteger(absl::string_view key,
                                                                     int64_t min,
                                                                     int64_t max) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::nullopt;
  const std::optional<int64_t> number = LoadInteger(value->type, value->payload);
  if (!number.has_value()) return WrongType(key, "an integer", *value);
  if (*number < min || *number > max) {
    return KeyError(absl::StatusCode::kInvalidArgument, key,
                    absl::StrCat(*number, " is not within ", min, " to ", max));
  }
  return number;
}

absl::StatusOr<int64_t> GgufMetadata::Integer(absl::string_view key, int64_t min,
                                              int64_t max) const {
  ASSIGN_OR_RETURN(const std::optional<int64_t> value, OptionalInteger(key, min, max));
  if (!value.has_value()) return Missing(key);
  return *value;
}

absl::StatusOr<std::optional<double>> GgufMetadata::OptionalFloat(absl::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::nullopt;
  if (value->type == GgufType::kFloat32) return Load<float>(value->payload);
  if (value->type == GgufType::kFloat64) return Load<double>(value->payload);
  return WrongType(key, "a float", *value);
}

absl::StatusOr<std::optional<bool>> GgufMetadata::OptionalBool(absl::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::nullopt;
  if (value->type != GgufType::kBool) return WrongType(key, "a bool", *value);
  const auto byte = Load<uint8_t>(value->payload);
  if (byte > 1) {
    return KeyError(absl::StatusCode::kInvalidArgument, key,
                    absl::StrCat("a bool is 0 or 1, found ", byte));
  }
  return byte == 1;
}

absl::StatusOr<std::optional<std::string>> GgufMetadata::OptionalString(
    absl::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::nullopt;
  if (value->type != GgufType::kString) return WrongType(key, "a string", *value);
  if (!IsUtf8(AsText(value->payload))) {
    return KeyError(absl::StatusCode::kInvalidArgument, key, "is not valid UTF-8");
  }
  return std::string(AsText(value->payload));
}

absl::StatusOr<std::string> GgufMetadata::String(absl::string_view key) const {
  ASSIGN_OR_RETURN(std::optional<std::string> value, OptionalString(key));
  if (!value.has_value()) return Missing(key);
  return *std::move(value);
}

absl::StatusOr<std::vector<std::string>> GgufMetadata::StringArrayOrEmpty(
    absl::string_view key) const {
  const GgufValue* value = Find(key);
  std::vector<std::string> strings;
  if (value == nullptr) return strings;
  if (value->type != GgufType::kArray || value->element_type != GgufType::kString) {
    return WrongType(key, "an array of strings", *value);
  }
  strings.reserve(value->count);
  ByteCursor cursor(value->payload);
  for (uint64_t i = 0; i < value->count; ++i) {
    ASSIGN_OR_RETURN(const absl::string_view text, cursor.ReadString(value->payload.size()));
    if (!IsUtf8(text)) {
      return KeyError(absl::StatusCode::kInvalidArgument, key,
                      absl::StrCat("element ", i, " ", QuotedName(text), " is not valid UTF-8"));
    }
    strings.emplace_back(text);
  }
  return strings;
}

absl::StatusOr<std::vector<int64_t>> GgufMetadata::IntegerArrayOrEmpty(
    absl::string_view key) const {
  const GgufValue* value = Find(key);
  std::vector<int64_t> numbers;
  if (value == nullptr) return numbers;
  const size_t width = value->type == GgufType::kArray ? GgufTypeBytes(value->element_type) : 0;
  if (width == 0) return WrongType(key, "an array of integers", *value);
  numbers.reserve(value->count);
  for (uint64_t i = 0; i < value->count; ++i) {
    const std::optional<int64_t> number =
        LoadInteger(value->element_type, value->payload.subspan(i * width, width));
    if (!number.has_value()) return WrongType(key, "an array of integers", *value);
    numbers.push_back(*number);
  }
  return numbers;
}

}  // namespace tandem
