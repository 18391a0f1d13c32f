#include "common/kv/arena_backing.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <limits>
#include <vector>

namespace tandem {
namespace {

// A layer is no multiple of a huge page.
constexpr KvArenaShape kShape = {.num_layers = 3,
                                 .num_blocks = 300,
                                 .num_kv_heads = 3,
                                 .head_dim = 64,
                                 .element = KvElement::kF16};

size_t PagesMissing(KvArena& arena) {
  const auto whole = arena.Whole();
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> resident((whole.size() + page - 1) / page);
  EXPECT_EQ(mincore(whole.data(), whole.size(), resident.data()), 0);
  return static_cast<size_t>(
      std::count_if(resident.begin(), resident.end(), [](unsigned char r) { return !(r & 1); }));
}

constexpr size_t kNoLimit = std::numeric_limits<size_t>::max();

TEST(ArenaBackingTest, EveryPageIsThereAndWhatWasWrittenStays) {
  for (const bool shared : {false, true}) {
    const auto arena = KvArena::Create(kShape, shared).value();
    EXPECT_GT(PagesMissing(*arena), 0u);
    arena->Run(1, BlockId(7), 1)[0] = std::byte{42};
    ArenaBacking backing(arena.get(), kNoLimit);
    backing.WaitUntilDone();
    EXPECT_EQ(PagesMissing(*arena), 0u);
    EXPECT_EQ(arena->Run(1, BlockId(7), 1)[0], std::byte{42});
  }
}

TEST(ArenaBackingTest, StopsAtItsLimit) {
  const auto arena = KvArena::Create(kShape).value();
  const size_t before = PagesMissing(*arena);
  ArenaBacking(arena.get(), 0).WaitUntilDone();
  EXPECT_EQ(PagesMissing(*arena), before);
  constexpr size_t kLimit = size_t{4} << 20;
  ArenaBacking(arena.get(), kLimit).WaitUntilDone();
  EXPECT_LT(PagesMissing(*arena), before);
  EXPECT_GE(PagesMissing(*arena), before - kLimit / sysconf(_SC_PAGESIZE));
}

TEST(ArenaBackingTest, EndsSoonWhenItsOwnerGoes) {
  KvArenaShape large = kShape;  // takes a good part of a second
  large.num_blocks = 30'000;
  const auto arena = KvArena::Create(large).value();
  { ArenaBacking backing(arena.get(), kNoLimit); }
  EXPECT_GT(PagesMissing(*arena), 0u);
}

}  // namespace
}  // namespace tandem
