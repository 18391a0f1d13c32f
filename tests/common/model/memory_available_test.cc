#include "common/model/memory_available.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace tandem {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kMiB = 1024 * 1024;

// A file system of a few files under a folder of its own.
class MemoryAvailableTest : public ::testing::Test {
 protected:
  MemoryAvailableTest()
      : root_(::testing::TempDir() + "/" +
              ::testing::UnitTest::GetInstance()->current_test_info()->name()) {
    std::filesystem::remove_all(root_);
    Write("/proc/meminfo", "MemTotal: 8192 kB\nMemFree: 1 kB\nMemAvailable:    4096 kB\nX: 1 kB\n");
  }
  ~MemoryAvailableTest() override { std::filesystem::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) {
    const std::filesystem::path file(root_ + path);
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }

  MemoryAvailable Read() {
    const auto result = ReadMemoryAvailable(root_);
    EXPECT_TRUE(result.ok()) << result.status();
    return result.value_or(MemoryAvailable{});
  }

  const std::string root_;
};

TEST_F(MemoryAvailableTest, WithoutControlGroupsTheMachineLimits) {
  EXPECT_EQ(Read().bytes, 4 * kMiB);
  EXPECT_EQ(Read().limited_by, "MemAvailable");
}

TEST_F(MemoryAvailableTest, VersionTwoLimitCountsWhatIsUsedWithoutReclaimableFiles) {
  Write("/proc/self/cgroup", "0::/\n");
  Write("/sys/fs/cgroup/memory.max", "3145728\n");
  Write("/sys/fs/cgroup/memory.current", "2097152\n");
  Write("/sys/fs/cgroup/memory.stat", "anon 5\ninactive_file 1048576\n");
  EXPECT_EQ(Read().bytes, 2 * kMiB);
  EXPECT_THAT(Read().limited_by, HasSubstr("control group"));
}

TEST_F(MemoryAvailableTest, UnlimitedGroupDoesNotLimit) {
  Write("/proc/self/cgroup", "0::/a\n");
  Write("/sys/fs/cgroup/a/memory.max", "max\n");
  Write("/sys/fs/cgroup/a/memory.current", "2097152\n");
  EXPECT_EQ(Read().bytes, 4 * kMiB);
}

TEST_F(MemoryAvailableTest, TightestGroupUpToTheRootLimits) {
  Write("/proc/self/cgroup", "0::/pod/container\n");
  Write("/sys/fs/cgroup/pod/memory.max", "1048576\n");
  Write("/sys/fs/cgroup/pod/memory.current", "0\n");
  Write("/sys/fs/cgroup/pod/container/memory.max", "2097152\n");
  Write("/sys/fs/cgroup/pod/container/memory.current", "0\n");
  EXPECT_EQ(Read().bytes, kMiB);
}

TEST_F(MemoryAvailableTest, UsedUpLimitLeavesNothing) {
  Write("/proc/self/cgroup", "0::/\n");
  Write("/sys/fs/cgroup/memory.max", "1000\n");
  Write("/sys/fs/cgroup/memory.current", "5000\n");
  EXPECT_EQ(Read().bytes, 0u);
}

TEST_F(MemoryAvailableTest, VersionOneLimitIsFoundUnderItsController) {
  Write("/proc/self/cgroup", "5:cpu:/x\n4:memory:/docker/abc\n0::/\n");
  // Inside the container the path of the host does not exist; the mount itself is the group.
  Write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "2097152\n");
  Write("/sys/fs/cgroup/memory/memory.usage_in_bytes", "1048576\n");
  EXPECT_EQ(Read().bytes, kMiB);
}

TEST_F(MemoryAvailableTest, DamagedGroupFilesDoNotLimit) {
  Write("/proc/self/cgroup", "nonsense\n0:\n0::relative\n");
  EXPECT_EQ(Read().bytes, 4 * kMiB);
}

TEST_F(MemoryAvailableTest, MachineThatTellsNothingIsAnError) {
  Write("/proc/meminfo", "MemTotal: 1 kB\n");
  EXPECT_FALSE(ReadMemoryAvailable(root_).ok());
}

TEST(MemoryAvailableHereTest, ThisMachineHasSome) {
  EXPECT_GT(ReadMemoryAvailable().value().bytes, 0u);
}

TEST(FormatBytesTest, UsesTheUnitThatFits) {
  EXPECT_EQ(FormatBytes(23 * kMiB), "23.0 MiB");
  EXPECT_EQ(FormatBytes(1536 * kMiB), "1.5 GiB");
}

}  // namespace
}  // namespace tandem
