#include "common/weights/gguf_parser.h"

#include <algorithm>
#include <bit>
#include <optional>
#include <string>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/weights/byte_cursor.h"

namespace tandem {
namespace {

constexpr absl::string_view kMagic = "GGUF";
constexpr uint32_t kVersion = 3;
constexpr uint64_t kDefaultAlignment = 32;
constexpr absl::string_view kAlignmentKey = "general.alignment";

absl::Status TensorError(absl::StatusCode code, absl::string_view name, absl::string_view what) {
  return absl::Status(code, absl::StrCat("tensor ", QuotedName(name), ": ", what));
}

std::optional<DType> ToDType(uint32_t ggml_type) {
  switch (ggml_type) {
    case 0:
      return DType::kF32;
    case 1:
      return DType::kF16;
    case 2:
      return DType::kQ4_0;
    case 3:
      return DType::kQ4_1;
    case 8:
      return DType::kQ8_0;
    case 30:
      return DType::kBF16;
    default:
      return std::nullopt;
  }
}

absl::StatusOr<GgufType> ReadType(ByteCursor& cursor) {
  ASSIGN_OR_RETURN(const uint32_t type, cursor.Read<uint32_t>());
  if (type > static_cast<uint32_t>(GgufType::kFloat64)) {
    return absl::InvalidArgumentError(absl::StrCat("unknown value type ", type));
  }
  return static_cast<GgufType>(type);
}

absl::Status ReadArray(ByteCursor& cursor, int depth, GgufValue& array);

// Moves past `count` elements of an array.
absl::Status SkipElements(ByteCursor& cursor, GgufType type, uint64_t count, int depth) {
  if (const size_t width = GgufTypeBytes(type); width > 0) {
    return cursor.ReadBytes(count * width).status();  // cannot overflow: count is capped
  }
  for (uint64_t i = 0; i < count; ++i) {
    if (type == GgufType::kString) {
      RETURN_IF_ERROR(cursor.ReadString(kMaxGgufStringBytes));
    } else {
      GgufValue nested;
      RETURN_IF_ERROR(ReadArray(cursor, depth + 1, nested));
    }
  }
  return absl::OkStatus();
}

absl::Status ReadArray(ByteCursor& cursor, int depth, GgufValue& array) {
  if (depth > kMaxGgufArrayDepth) {
    return absl::InvalidArgumentError(
        absl::StrCat("arrays nested deeper than ", kMaxGgufArrayDepth));
  }
  ASSIGN_OR_RETURN(array.element_type, ReadType(cursor));
  ASSIGN_OR_RETURN(array.count, cursor.Read<uint64_t>());
  if (array.count > kMaxGgufArrayElements) {
    return absl::InvalidArgumentError(
        absl::StrCat("array of ", array.count, " elements, the limit is ", kMaxGgufArrayElements));
  }
  ByteCursor start = cursor;
  RETURN_IF_ERROR(SkipElements(cursor, array.element_type, array.count, depth));
  ASSIGN_OR_RETURN(array.payload, start.ReadBytes(cursor.position() - start.position()));
  return absl::OkStatus();
}

absl::StatusOr<GgufValue> ReadValue(ByteCursor& cursor) {
  GgufValue value;
  ASSIGN_OR_RETURN(value.type, ReadType(cursor));
  if (value.type == GgufType::kArray) {
    RETURN_IF_ERROR(ReadArray(cursor, 1, value));
  } else if (value.type == GgufType::kString) {
    ASSIGN_OR_RETURN(const absl::string_view text, cursor.ReadString(kMaxGgufStringBytes));
    value.payload =
        absl::MakeConstSpan(reinterpret_cast<const std::byte*>(text.data()), text.size());
  } else {
    ASSIGN_OR_RETURN(value.payload, cursor.ReadBytes(GgufTypeBytes(value.type)));
  }
  return value;
}

absl::Status ReadMetadata(ByteCursor& cursor, uint64_t count, GgufMetadata& metadata) {
  for (uint64_t i = 0; i < count; ++i) {
    const absl::StatusOr<absl::string_view> key = cursor.ReadString(kMaxGgufKeyBytes);
    if (!key.ok()) return WithContext(key.status(), absl::StrCat("name of key ", i));
    const absl::StatusOr<GgufValue> value = ReadValue(cursor);
    if (!value.ok()) return WithContext(value.status(), absl::StrCat("key ", QuotedName(*key)));
    RETURN_IF_ERROR(metadata.Add(*key, *value));
  }
  return absl::OkStatus();
}

// A directory entry before its data has been found.
struct Entry {
  GgufTensor tensor;
  uint64_t offset = 0;  // from the start of the data
  uint64_t bytes = 0;
};

absl::Status ReadShape(ByteCursor& cursor, GgufTensor& tensor) {
  ASSIGN_OR_RETURN(const uint32_t dimensions, cursor.Read<uint32_t>());
  if (dimensions < 1 || dimensions > kMaxGgufDimensions) {
    return absl::InvalidArgumentError(
        absl::StrCat(dimensions, " dimensions, 1 to ", kMaxGgufDimensions, " are possible"));
  }
  tensor.num_dimensions = static_cast<int>(dimensions);
  tensor.dimensions.fill(1);
  int64_t elements = 1;
  for (uint32_t i = 0; i < dimensions; ++i) {
    ASSIGN_OR_RETURN(const uint64_t size, cursor.Read<uint64_t>());
    // Small enough that sizes in bytes cannot overflow either; a real file ends long before.
    constexpr uint64_t kMaxElements = uint64_t{1} << 48;
    if (size == 0 || size > kMaxElements / static_cast<uint64_t>(elements)) {
      return absl::InvalidArgumentError(
          absl::StrCat("dimension ", i, " is ", size, ", which is empty or too large"));
    }
    tensor.dimensions[i] = static_cast<int64_t>(size);
    elements *= tensor.dimensions[i];
  }
  tensor.view.cols = tensor.dimensions[0];
  tensor.view.rows = elements / tensor.view.cols;
  return absl::OkStatus();
}

absl::Status ReadEntry(ByteCursor& cursor, uint64_t alignment, Entry& entry) {
  TensorView& view = entry.tensor.view;
  RETURN_IF_ERROR(ReadShape(cursor, entry.tensor));
  ASSIGN_OR_RETURN(const uint32_t type, cursor.Read<uint32_t>());
  const std::optional<DType> dtype = ToDType(type);
  if (!dtype.has_value()) {
    return absl::UnimplementedError(absl::StrCat(
        "GGML type ", type, " is not supported (F32, F16, BF16, Q8_0, Q4_0 and Q4_1 are)"));
  }
  view.type = *dtype;
  const int block = DTypeBlockSize(view.type);
  if (view.cols % block != 0) {
    return absl::InvalidArgumentError(absl::StrCat("a row of ", view.cols,
                                                   " weights is no whole number of ",
                                                   DTypeName(view.type), " blocks of ", block));
  }
  entry.bytes = static_cast<uint64_t>(view.rows * (view.cols / block)) *
                static_cast<uint64_t>(DTypeBlockBytes(view.type));
  ASSIGN_OR_RETURN(entry.offset, cursor.Read<uint64_t>());
  if (entry.offset % alignment != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("offset ", entry.offset, " is not a multiple of the alignment ", alignment));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Entry>> ReadDirectory(ByteCursor& cursor, uint64_t count,
                                                 uint64_t alignment) {
  std::vector<Entry> entries;
  absl::flat_hash_set<std::string> names;
  for (uint64_t i = 0; i < count; ++i) {
    const absl::StatusOr<absl::string_view> name = cursor.ReadString(kMaxGgufNameBytes);
    if (!name.ok()) return WithContext(name.status(), absl::StrCat("name of tensor ", i));
    Entry entry;
    entry.tensor.view.name = std::string(*name);
    RETURN_IF_ERROR(WithContext(ReadEntry(cursor, alignment, entry),
                                absl::StrCat("tensor ", QuotedName(*name))));
    if (!names.insert(entry.tensor.view.name).second) {
      return TensorError(absl::StatusCode::kInvalidArgument, *name, "appears twice");
    }
    entries.push_back(std::move(entry));
  }
  return entries;
}

// Points each view at its bytes.
absl::Status PlaceTensors(absl::Span<const std::byte> data, std::vector<Entry>& entries) {
  for (Entry& entry : entries) {
    if (entry.offset > data.size() || entry.bytes > data.size() - entry.offset) {
      return TensorError(absl::StatusCode::kInvalidArgument, entry.tensor.view.name,
                         absl::StrCat(entry.bytes, " bytes at offset ", entry.offset,
                                      " go past the end of the data, which has ", data.size()));
    }
    entry.tensor.view.data = data.subspan(entry.offset, entry.bytes);
  }
  std::vector<const Entry*> by_offset;
  by_offset.reserve(entries.size());
  for (const Entry& entry : entries) by_offset.push_back(&entry);
  std::sort(by_offset.begin(), by_offset.end(),
            [](const Entry* a, const Entry* b) { return a->offset < b->offset; });
  for (size_t i = 1; i < by_offset.size(); ++i) {
    const Entry& before = *by_offset[i - 1];
    if (before.offset + before.bytes > by_offset[i]->offset) {
      return TensorError(absl::StatusCode::kInvalidArgument, by_offset[i]->tensor.view.name,
                         absl::StrCat("overlaps tensor ", QuotedName(before.tensor.view.name)));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> ReadCount(ByteCursor& cursor, absl::string_view what, uint64_t limit) {
  ASSIGN_OR_RETURN(const uint64_t count, cursor.Read<uint64_t>());
  if (count > limit) {
    return absl::InvalidArgumentError(
        absl::StrCat("the header names ", count, " ", what, ", the limit is ", limit));
  }
  return count;
}

absl::Status CheckHeader(ByteCursor& cursor) {
  const absl::StatusOr<absl::Span<const std::byte>> magic = cursor.ReadBytes(kMagic.size());
  if (!magic.ok() ||
      absl::string_view(reinterpret_cast<const char*>(magic->data()), magic->size()) != kMagic) {
    return absl::InvalidArgumentError("not a GGUF file: it does not begin with 'GGUF'");
  }
  ASSIGN_OR_RETURN(const uint32_t version, cursor.Read<uint32_t>());
  if (version == kVersion) return absl::OkStatus();
  if (version == __builtin_bswap32(kVersion)) {
    return absl::UnimplementedError("a big-endian GGUF file, only little-endian ones are read");
  }
  return absl::UnimplementedError(
      absl::StrCat("GGUF version ", version, ", only version ", kVersion, " is read"));
}

absl::StatusOr<uint64_t> Alignment(const GgufMetadata& metadata) {
  constexpr int64_t kMin = 8;
  constexpr int64_t kMax = 1 << 20;
  ASSIGN_OR_RETURN(const std::optional<int64_t> value,
                   metadata.OptionalInteger(kAlignmentKey, kMin, kMax));
  const uint64_t alignment = value.has_value() ? static_cast<uint64_t>(*value) : kDefaultAlignment;
  if (!std::has_single_bit(alignment)) {
    return KeyError(absl::StatusCode::kInvalidArgument, kAlignmentKey,
                    absl::StrCat(alignment, " is not a power of two"));
  }
  return alignment;
}

}  // namespace

absl::StatusOr<GgufContents> ParseGguf(absl::Span<const std::byte> file) {
  GgufContents contents;
  ByteCursor cursor(file);
  RETURN_IF_ERROR(CheckHeader(cursor));
  ASSIGN_OR_RETURN(const uint64_t num_tensors, ReadCount(cursor, "tensors", kMaxGgufTensors));
  ASSIGN_OR_RETURN(const uint64_t num_keys, ReadCount(cursor, "keys", kMaxGgufKeys));
  RETURN_IF_ERROR(ReadMetadata(cursor, num_keys, contents.metadata));
  ASSIGN_OR_RETURN(const uint64_t alignment, Alignment(contents.metadata));
  ASSIGN_OR_RETURN(std::vector<Entry> entries, ReadDirectory(cursor, num_tensors, alignment));
  const uint64_t data_start = (cursor.position() + alignment - 1) / alignment * alignment;
  const absl::Span<const std::byte> data =
      data_start < file.size() ? file.subspan(data_start) : absl::Span<const std::byte>();
  RETURN_IF_ERROR(PlaceTensors(data, entries));
  contents.tensors.reserve(entries.size());
  for (Entry& entry : entries) contents.tensors.push_back(std::move(entry.tensor));
  return contents;
}

}  // namespace tandem
