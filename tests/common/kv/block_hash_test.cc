#include "common/kv/block_hash.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "common/kv/block_size.h"
#include "common/kv/prefix_chain.h"

namespace tandem {
namespace {

using testing::ElementsAreArray;

constexpr HashSecret kSecret = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

std::vector<TokenId> Counting(size_t n, TokenId first = 0) {
  std::vector<TokenId> tokens(n);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

TEST(BlockSizeTest, CountsBlocks) {
  EXPECT_EQ(BlocksCovering(0), 0u);
  EXPECT_EQ(BlocksCovering(1), 1u);
  EXPECT_EQ(BlocksCovering(16), 1u);
  EXPECT_EQ(BlocksCovering(17), 2u);
  EXPECT_EQ(BlocksCovering(UINT32_MAX), 1u << 28);
  EXPECT_EQ(FullBlocks(15), 0u);
  EXPECT_EQ(FullBlocks(16), 1u);
  EXPECT_EQ(SharableBlocks(0), 0u);
  EXPECT_EQ(SharableBlocks(16), 0u);
  EXPECT_EQ(SharableBlocks(17), 1u);
  EXPECT_EQ(SharableBlocks(33), 2u);
}

TEST(BlockHashTest, NamesFullBlocksOnly) {
  const BlockHash root = HashRoot(kSecret, "", "model", "avx2");
  EXPECT_EQ(HashBlocks(kSecret, root, Counting(15)).size(), 0u);
  EXPECT_EQ(HashBlocks(kSecret, root, Counting(16)).size(), 1u);
  EXPECT_EQ(HashBlocks(kSecret, root, Counting(47)).size(), 2u);
}

TEST(BlockHashTest, EqualPrefixesHaveEqualNames) {
  const BlockHash root = HashRoot(kSecret, "", "model", "avx2");
  const auto whole = HashBlocks(kSecret, root, Counting(64));
  const auto prefix = HashBlocks(kSecret, root, Counting(32));
  EXPECT_THAT(prefix, ElementsAreArray(whole.begin(), whole.begin() + 2));
}

TEST(BlockHashTest, AChangedTokenRenamesItsBlockAndAllLaterOnes) {
  const BlockHash root = HashRoot(kSecret, "", "model", "avx2");
  std::vector<TokenId> tokens = Counting(48);
  const auto before = HashBlocks(kSecret, root, tokens);
  tokens[20] = -1;
  const auto after = HashBlocks(kSecret, root, tokens);
  EXPECT_EQ(before[0], after[0]);
  EXPECT_NE(before[1], after[1]);
  EXPECT_NE(before[2], after[2]);
}

TEST(BlockHashTest, EqualTokensAtAnotherPlaceHaveAnotherName) {
  const BlockHash root = HashRoot(kSecret, "", "model", "avx2");
  const auto hashes = HashBlocks(kSecret, root, std::vector<TokenId>(32, 7));
  EXPECT_NE(hashes[0], hashes[1]);
}

TEST(BlockHashTest, RootDependsOnEveryPartAndOnWhereItEnds) {
  const BlockHash root = HashRoot(kSecret, "salt", "model", "avx2");
  EXPECT_EQ(root, HashRoot(kSecret, "salt", "model", "avx2"));
  EXPECT_NE(root, HashRoot(kSecret, "other", "model", "avx2"));
  EXPECT_NE(root, HashRoot(kSecret, "salt", "other", "avx2"));
  EXPECT_NE(root, HashRoot(kSecret, "salt", "model", "avx512"));
  EXPECT_NE(root, HashRoot(kSecret, "saltm", "odel", "avx2"));
  HashSecret other = kSecret;
  other[0] ^= 1;
  EXPECT_NE(root, HashRoot(other, "salt", "model", "avx2"));
}

TEST(BlockHashTest, HexShowsAllBits) {
  const BlockHash hash{.high = 0x0123, .low = 0xabcdef};
  EXPECT_EQ(hash.ToHex(), "00000000000001230000000000abcdef");
}

TEST(PrefixChainTest, GivesTheSameHashesHoweverTokensArrive) {
  const BlockHash root = HashRoot(kSecret, "", "model", "avx2");
  const std::vector<TokenId> tokens = Counting(100, -50);
  const auto expected = HashBlocks(kSecret, root, tokens);
  for (size_t piece = 1; piece <= tokens.size(); ++piece) {
    PrefixChain chain(kSecret, root);
    for (size_t i = 0; i < tokens.size(); i += piece) {
      chain.Append(absl::MakeConstSpan(tokens).subspan(i, piece));
    }
    ASSERT_THAT(chain.hashes(), ElementsAreArray(expected)) << "pieces of " << piece;
  }
}

TEST(PrefixChainTest, LinksEachBlockToTheOneBefore) {
  const BlockHash root = HashRoot(kSecret, "", "model", "avx2");
  PrefixChain chain(kSecret, root);
  chain.Append(Counting(32));
  EXPECT_EQ(chain.Link(0), (PrefixLink{chain.hashes()[0], root}));
  EXPECT_EQ(chain.Link(1), (PrefixLink{chain.hashes()[1], chain.hashes()[0]}));
  EXPECT_DEATH(chain.Link(2), "CHECK failed");
}

}  // namespace
}  // namespace tandem
