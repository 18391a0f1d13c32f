#include "common/kv/kv_arena.h"

#include <gtest/gtest.h>

#include <cstring>

namespace tandem {
namespace {

constexpr KvArenaShape kShape = {
    .num_layers = 3, .num_blocks = 5, .num_kv_heads = 2, .head_dim = 8, .element = KvElement::kF16};

TEST(KvArenaTest, StridesFollowTheLayout) {
  const auto arena = KvArena::Create(kShape).value();
  const KvArenaStrides& strides = arena->strides();
  EXPECT_EQ(strides.head, 16u * 8 * 2);
  EXPECT_EQ(strides.kv, 2 * strides.head);
  EXPECT_EQ(strides.block, 2 * strides.kv);
  EXPECT_EQ(strides.layer, 5 * strides.block);
  EXPECT_EQ(arena->bytes_per_block_layer(), strides.block);
  EXPECT_EQ(arena->Whole().size(), 3 * strides.layer);
}

TEST(KvArenaTest, FloatsTakeTwiceTheMemory) {
  KvArenaShape shape = kShape;
  const size_t half = KvArena::Create(shape).value()->Whole().size();
  shape.element = KvElement::kF32;
  EXPECT_EQ(KvArena::Create(shape).value()->Whole().size(), 2 * half);
}

TEST(KvArenaTest, IsPageAlignedZeroAndWritable) {
  const auto arena = KvArena::Create(kShape).value();
  EXPECT_EQ(reinterpret_cast<uintptr_t>(arena->Whole().data()) % 4096, 0u);
  for (const std::byte b : arena->Whole()) ASSERT_EQ(b, std::byte{0});
  std::memset(arena->Whole().data(), 1, arena->Whole().size());
}

TEST(KvArenaTest, RunsOfALayerAreContiguousAndTileTheArena) {
  const auto arena = KvArena::Create(kShape).value();
  std::byte* next = arena->Whole().data();
  for (uint32_t layer = 0; layer < kShape.num_layers; ++layer) {
    for (const uint32_t first : {0u, 2u}) {
      const uint32_t n = first == 0 ? 2 : 3;
      const absl::Span<std::byte> run = arena->Run(layer, BlockId(first), n);
      EXPECT_EQ(run.data(), next);
      EXPECT_EQ(run.size(), n * arena->bytes_per_block_layer());
      next += run.size();
    }
  }
  EXPECT_EQ(next, arena->Whole().data() + arena->Whole().size());
}

TEST(KvArenaTest, RunsOutsideDie) {
  const auto arena = KvArena::Create(kShape).value();
  EXPECT_DEATH(arena->Run(3, BlockId(0), 1), "CHECK failed");
  EXPECT_DEATH(arena->Run(0, BlockId(4), 2), "CHECK failed");
  EXPECT_DEATH(arena->Run(0, BlockId(5), 1), "CHECK failed");
  EXPECT_DEATH(arena->Run(0, BlockId(0), 6), "CHECK failed");
  EXPECT_DEATH(arena->Run(0, BlockId(UINT32_MAX), 2), "CHECK failed");
}

TEST(KvArenaTest, RefusesShapesWithoutASize) {
  for (uint32_t KvArenaShape::*member : {&KvArenaShape::num_layers, &KvArenaShape::num_blocks,
                                         &KvArenaShape::num_kv_heads, &KvArenaShape::head_dim}) {
    KvArenaShape shape = kShape;
    shape.*member = 0;
    EXPECT_EQ(KvArena::Create(shape).status().code(), absl::StatusCode::kInvalidArgument);
  }
  const KvArenaShape overflowing = {.num_layers = UINT32_MAX,
                                    .num_blocks = UINT32_MAX,
                                    .num_kv_heads = 8,
                                    .head_dim = 128,
                                    .element = KvElement::kF32};
  EXPECT_EQ(KvArena::Create(overflowing).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(KvArenaTest, SaysWhenThereIsNoMemory) {
  const KvArenaShape huge = {.num_layers = 1u << 16,
                             .num_blocks = 1u << 24,
                             .num_kv_heads = 8,
                             .head_dim = 128,
                             .element = KvElement::kF16};
  EXPECT_EQ(KvArena::Create(huge).status().code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace tandem
