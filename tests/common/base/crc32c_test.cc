#include "common/base/crc32c.h"

#include <gtest/gtest.h>

#include <string_view>
#include <vector>

namespace tandem {
namespace {

// The definition, bit by bit.
uint32_t Reference(absl::Span<const std::byte> bytes) {
  uint32_t crc = ~0u;
  for (const std::byte byte : bytes) {
    crc ^= static_cast<uint32_t>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) ? 0x82f63b78u : 0u);
  }
  return ~crc;
}

std::vector<std::byte> Pattern(size_t size) {
  std::vector<std::byte> bytes(size);
  uint32_t state = 12345;
  for (std::byte& byte : bytes) {
    state = state * 1664525 + 1013904223;
    byte = static_cast<std::byte>(state >> 24);
  }
  return bytes;
}

TEST(Crc32c, PublishedVectors) {
  const std::string_view digits = "123456789";
  EXPECT_EQ(Crc32c({reinterpret_cast<const std::byte*>(digits.data()), digits.size()}),
            0xe3069283u);
  EXPECT_EQ(Crc32c(std::vector<std::byte>(32, std::byte{0})), 0x8a9136aau);
  EXPECT_EQ(Crc32c(std::vector<std::byte>(32, std::byte{0xff})), 0x62a8ab43u);
  EXPECT_EQ(Crc32c({}), 0u);
}

TEST(Crc32c, EverySmallSizeAndAlignmentEqualsTheDefinition) {
  const std::vector<std::byte> bytes = Pattern(700 + 16);
  for (size_t offset = 0; offset < 16; ++offset) {
    for (size_t size = 0; size <= 700; ++size) {
      const auto piece = absl::MakeConstSpan(bytes).subspan(offset, size);
      ASSERT_EQ(Crc32c(piece), Reference(piece)) << "offset " << offset << " size " << size;
    }
  }
}

TEST(Crc32c, SizesAroundTheInterleavedPiecesEqualTheDefinition) {
  const std::vector<std::byte> bytes = Pattern(40000);
  for (const size_t near : {3072u, 6144u, 9216u, 12288u, 36864u}) {
    for (size_t size = near - 9; size <= near + 200; ++size) {
      const auto piece = absl::MakeConstSpan(bytes).subspan(1, size);
      ASSERT_EQ(Crc32c(piece), Reference(piece)) << "size " << size;
    }
  }
}

TEST(Crc32c, EverySingleBitFlipOfABlockIsSeen) {
  std::vector<std::byte> bytes = Pattern(3 * 1024 + 3 * 64 + 11);
  const uint32_t good = Crc32c(bytes);
  for (size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] ^= std::byte{0x10};
    ASSERT_NE(Crc32c(bytes), good) << "byte " << i;
    bytes[i] ^= std::byte{0x10};
  }
}

}  // namespace
}  // namespace tandem
