#include "common/base/shareable_memory.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>

namespace tandem {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kSize = 2 * kHugePage + 12288;  // its end is within a huge page

void ExpectZeroAndItsOwn(ShareableMemory& memory) {
  ASSERT_EQ(memory.memory().size(), kSize);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(memory.memory().data()) % kHugePage, 0u);
  EXPECT_EQ(memory.region().memory, memory.memory());
  for (const std::byte byte : memory.memory()) ASSERT_EQ(byte, std::byte{0});
  std::fill(memory.memory().begin(), memory.memory().end(), std::byte{7});
}

TEST(ShareableMemoryTest, PrivateMemoryNamesNoFile) {
  const auto memory = ShareableMemory::Create(kSize, /*shared=*/false).value();
  ExpectZeroAndItsOwn(*memory);
  EXPECT_EQ(memory->region().fd, -1);
}

TEST(ShareableMemoryTest, SharedMemoryIsSeenThroughItsFileWhichCannotShrink) {
  const auto memory = ShareableMemory::Create(kSize).value();
  ExpectZeroAndItsOwn(*memory);
  const int fd = memory->region().fd;
  if (fd < 0) GTEST_SKIP() << "shared memory gets no huge pages here";
  struct stat file {};
  ASSERT_EQ(fstat(fd, &file), 0);
  EXPECT_EQ(static_cast<size_t>(file.st_size), kSize);
  EXPECT_NE(fcntl(fd, F_GET_SEALS) & F_SEAL_SHRINK, 0);
  EXPECT_NE(ftruncate(fd, 4096), 0);
  void* const seen = mmap(nullptr, kSize, PROT_READ, MAP_SHARED, fd, 0);
  ASSERT_NE(seen, MAP_FAILED);
  memory->memory()[kSize - 1] = std::byte{9};
  EXPECT_EQ(static_cast<const std::byte*>(seen)[0], std::byte{7});
  EXPECT_EQ(static_cast<const std::byte*>(seen)[kSize - 1], std::byte{9});
  munmap(seen, kSize);
}

TEST(ShareableMemoryTest, LessThanAHugePageIsSharedEverywhere) {
  EXPECT_GE(ShareableMemory::Create(12288).value()->region().fd, 0);
}

TEST(ShareableMemoryTest, MoreThanTheLargestFileIsPrivate) {
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit small = before;
  small.rlim_cur = kSize - 1;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto memory = ShareableMemory::Create(kSize);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  ASSERT_TRUE(memory.ok());
  ExpectZeroAndItsOwn(**memory);
  EXPECT_EQ((*memory)->region().fd, -1);
}

TEST(ShareableMemoryTest, BackingKeepsContentsAndReachesTheEnd) {
  for (const bool shared : {false, true}) {
    const auto memory = ShareableMemory::Create(kSize, shared).value();
    memory->memory()[kHugePage + 1] = std::byte{5};
    for (size_t at = 0; at < kSize; at += kHugePage) {
      EXPECT_TRUE(memory->Back(at, std::min(at + kHugePage, kSize))) << at;
    }
    EXPECT_EQ(memory->memory()[kHugePage + 1], std::byte{5});
    EXPECT_EQ(memory->memory()[kSize - 1], std::byte{0});
  }
}

TEST(ShareableMemoryTest, MoreThanTheAddressSpaceIsResourceExhausted) {
  for (const bool shared : {false, true}) {
    EXPECT_EQ(ShareableMemory::Create(size_t{1} << 60, shared).status().code(),
              absl::StatusCode::kResourceExhausted);
  }
}

}  // namespace
}  // namespace tandem
