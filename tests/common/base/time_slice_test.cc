#include "common/base/time_slice.h"

#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <optional>
#include <thread>

namespace tandem {
namespace {

// What the kernel says of the calling thread; none where it keeps no slices (before Linux 6.12).
std::optional<uint64_t> SliceNs() {
  std::array<uint64_t, 6> attr{};
  if (syscall(SYS_sched_getattr, 0, attr.data(), sizeof(attr), 0) != 0) return std::nullopt;
  return attr[3] == 0 ? std::nullopt : std::optional<uint64_t>(attr[3]);
}

TEST(TimeSlice, AShortOneIsInheritedAndGivenBack) {
  std::thread([] {
    const auto usual = SliceNs();
    // Nothing to be seen there: the wish is without effect.
    if (!usual) GTEST_SKIP() << "slices are kept from Linux 6.12 on";
    AskForShortSlices();
    const auto asked = SliceNs();
    ASSERT_TRUE(asked.has_value());
    EXPECT_LT(*asked, *usual);
    std::thread([&] {
      EXPECT_EQ(SliceNs(), asked);
      AskForDefaultSlices();
      EXPECT_EQ(SliceNs(), usual);
    }).join();
    EXPECT_EQ(SliceNs(), asked);
  }).join();
}

}  // namespace
}  // namespace tandem
