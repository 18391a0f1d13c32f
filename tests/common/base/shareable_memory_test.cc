#include "common/base/shareable_memory.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <fstream>

namespace tandem {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kSize = 2 * kHugePage + 12288;  // its end is within a huge page

// Where memory is never overcommitted nothing is shared.
bool NeverOvercommitted() {
  int overcommit = 0;
  std::ifstream("/proc/sys/vm/overcommit_memory") >> overcommit;
  return overcommit == 2;
}

void ExpectZeroAndItsOwn(ShareableMemory& memory, size_t size = kSize) {
  ASSERT_EQ(memory.memory().size(), size);
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

void ExpectSeenThroughItsFileWhichCannotShrink(ShareableMemory& memory, size_t size) {
  ExpectZeroAndItsOwn(memory, size);
  const int fd = memory.region().fd;
  struct stat file {};
  ASSERT_EQ(fstat(fd, &file), 0);
  EXPECT_EQ(static_cast<size_t>(file.st_size), size);
  EXPECT_NE(fcntl(fd, F_GET_SEALS) & F_SEAL_SHRINK, 0);
  EXPECT_NE(ftruncate(fd, 4096), 0);
  void* const seen = mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
  ASSERT_NE(seen, MAP_FAILED);
  memory.memory()[size - 1] = std::byte{9};
  EXPECT_EQ(static_cast<const std::byte*>(seen)[0], std::byte{7});
  EXPECT_EQ(static_cast<const std::byte*>(seen)[size - 1], std::byte{9});
  munmap(seen, size);
}

TEST(ShareableMemoryTest, LessThanAHugePageIsSharedOnEveryKernel) {
  constexpr size_t kSmall = 12288;
  const auto memory = ShareableMemory::Create(kSmall).value();
  ASSERT_EQ(memory->region().fd < 0, NeverOvercommitted());
  if (!NeverOvercommitted()) ExpectSeenThroughItsFileWhichCannotShrink(*memory, kSmall);
}

TEST(ShareableMemoryTest, HugePagesAreSharedWhereTheKernelGivesThemToFiles) {
  const auto memory = ShareableMemory::Create(kSize).value();
  // The kernel alone knows: before Linux 6.1, or built without huge pages for shared memory, it
  // gives none, and private memory is what is promised then.
  if (memory->region().fd < 0) GTEST_SKIP() << "this kernel gives files no huge pages";
  ExpectSeenThroughItsFileWhichCannotShrink(*memory, kSize);
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
