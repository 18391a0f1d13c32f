#include "common/base/crc32c.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "common/base/check.h"
#include "common/base/crc32c_paths.h"

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

TEST(Crc32c, ContinuesFromWhatCameBeforeAtEverySplit) {
  const std::vector<std::byte> bytes = Pattern(2200);
  const auto all = absl::MakeConstSpan(bytes);
  const uint32_t whole = Reference(all);
  for (size_t split = 0; split <= bytes.size(); ++split) {
    ASSERT_EQ(Crc32c(all.subspan(split), Crc32c(all.first(split))), whole) << "split " << split;
  }
}

// Every path that this machine can run, against the table.
class Crc32cPaths : public testing::TestWithParam<Crc32cPath> {
 protected:
  static uint32_t WithTable(uint32_t crc, const uint8_t* data, size_t size) {
    return SupportedCrc32cPaths().back().extend(crc, data, size);
  }
  void ExpectLikeTable(uint32_t crc, size_t offset, size_t size) {
    const uint8_t* data = reinterpret_cast<const uint8_t*>(bytes_.data()) + offset;
    ASSERT_EQ(GetParam().extend(crc, data, size), WithTable(crc, data, size))
        << "offset " << offset << " size " << size << " state " << crc;
  }
  const std::vector<std::byte> bytes_ = Pattern(98304 + 1024);
};

TEST_P(Crc32cPaths, EverySmallSizeEqualsTheTable) {
  for (size_t size = 0; size <= 1024 + 64; ++size) ExpectLikeTable(~0u, 0, size);
}

TEST_P(Crc32cPaths, EveryAlignmentEqualsTheTable) {
  for (size_t offset = 0; offset < 64; ++offset) {
    for (const size_t size : {63u, 255u, 256u, 511u, 512u, 513u, 1024u, 1600u}) {
      ExpectLikeTable(~0u, offset, size);
    }
  }
}

TEST_P(Crc32cPaths, EveryBitOfTheStateBeforeCounts) {
  for (const size_t size : {1u, 64u, 256u, 512u, 777u, 4096u}) {
    for (int bit = 0; bit < 32; ++bit) ExpectLikeTable(uint32_t{1} << bit, 3, size);
  }
}

TEST_P(Crc32cPaths, EveryByteOfAStrideCounts) {
  std::vector<uint8_t> bytes(2048);
  for (size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = 0x81;
    ASSERT_EQ(GetParam().extend(0, bytes.data(), bytes.size()),
              WithTable(0, bytes.data(), bytes.size()))
        << "byte " << i;
    bytes[i] = 0;
  }
}

TEST_P(Crc32cPaths, BlocksEqualTheTable) {
  for (const size_t block : {12288u, 98304u}) {
    for (size_t size = block - 2; size <= block + 2; ++size) ExpectLikeTable(~0u, 1, size);
  }
}

TEST_P(Crc32cPaths, CopyWritesAllBytesAndNoMoreAtEveryAlignment) {
  const auto* data = reinterpret_cast<const uint8_t*>(bytes_.data());
  for (const size_t size : {0u, 1u, 63u, 64u, 255u, 256u, 511u, 512u, 513u, 1024u, 1600u, 6144u}) {
    for (const size_t from : {0u, 1u, 31u, 64u}) {
      for (const size_t to : {0u, 1u, 32u, 63u}) {
        alignas(kStreamAlignment) std::array<uint8_t, 8192> copied;
        copied.fill(0xee);
        const uint32_t crc = GetParam().copy(7, data + from, size, copied.data() + 64 + to);
        ASSERT_EQ(crc, WithTable(7, data + from, size)) << size << ' ' << from << ' ' << to;
        ASSERT_EQ(std::memcmp(copied.data() + 64 + to, data + from, size), 0);
        ASSERT_EQ(std::count(copied.begin(), copied.begin() + 64 + to, 0xee), 64 + to);
        ASSERT_EQ(std::count(copied.begin() + 64 + to + size, copied.end(), 0xee),
                  8192 - 64 - to - size);
      }
    }
  }
}

// Written through one mapping and read through another, as a peer's memory is.
class ChangingBytes {
 public:
  static constexpr size_t kSize = 8192;
  ChangingBytes() : fd_(memfd_create("changing", MFD_CLOEXEC)) {
    TANDEM_CHECK(ftruncate(fd_, kSize) == 0);
    auto* const written = static_cast<volatile uint8_t*>(Map());
    bytes_ = static_cast<const uint8_t*>(Map());
    writer_ = std::thread([this, written] {
      for (size_t i = 0; !stop_; ++i) written[i % kSize] = static_cast<uint8_t>(i >> 13);
    });
  }
  ~ChangingBytes() {
    stop_ = true;
    writer_.join();
    for (void* mapping : mappings_) munmap(mapping, kSize);
    close(fd_);
  }
  const uint8_t* data() const { return bytes_; }

 private:
  void* Map() {
    void* const at = mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
    TANDEM_CHECK(at != MAP_FAILED);
    mappings_.push_back(at);
    return at;
  }

  const int fd_;
  std::vector<void*> mappings_;
  const uint8_t* bytes_ = nullptr;
  std::atomic<bool> stop_{false};
  std::thread writer_;
};

TEST_P(Crc32cPaths, CopySumsWhatItWroteAlsoWhileTheSourceChanges) {
  const ChangingBytes source;
  alignas(kStreamAlignment) std::array<uint8_t, ChangingBytes::kSize> copied;
  for (const size_t to : {0u, 1u}) {
    for (int i = 0; i < 5000; ++i) {
      const size_t size = copied.size() - to;
      const uint32_t crc = GetParam().copy(7, source.data(), size, copied.data() + to);
      ASSERT_EQ(crc, WithTable(7, copied.data() + to, size)) << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Supported, Crc32cPaths, testing::ValuesIn(SupportedCrc32cPaths()),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace tandem
