#include "common/kv/kv_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <utility>

namespace tandem {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;
using enum BlockState;

constexpr HashSecret kSecret = {42};

// The tokens of a sequence with their chain; `salt` is the tenant.
struct Text {
  explicit Text(size_t n, TokenId first = 0, absl::string_view salt = "")
      : tokens(n), chain(kSecret, HashRoot(kSecret, salt, "model", "profile")) {
    std::iota(tokens.begin(), tokens.end(), first);
    chain.Append(tokens);
  }
  std::vector<TokenId> tokens;
  PrefixChain chain;
};

class KvCacheTest : public testing::Test {
 protected:
  ~KvCacheTest() override { cache_.pool().CheckConserved(); }

  // Computes and publishes all full blocks of `text`.
  KvLease Fill(const Text& text) {
    KvLease lease = cache_.Acquire(static_cast<uint32_t>(text.chain.size())).value();
    for (size_t i = 0; i < lease.size(); ++i) Publish(lease, i, text);
    return lease;
  }
  KvLease Publish(KvLease& lease, size_t i, const Text& text) {
    return cache_.Publish(lease, i, text.chain, i, text.tokens);
  }
  KvLease Match(const Text& text, size_t max_blocks = 100) {
    return cache_.MatchPrefix(text.chain, text.tokens, max_blocks);
  }
  size_t Count(const Text& text, size_t max_blocks = 100) {
    return cache_.CountPrefix(text.chain, text.tokens, max_blocks);
  }

  KvCache cache_{8};
};

TEST_F(KvCacheTest, PublishedBlocksAreFoundWhileHeldAndAfter) {
  const Text text(48);
  KvLease lease = Fill(text);
  const std::vector<BlockId> ids(lease.ids().begin(), lease.ids().end());
  EXPECT_THAT(Match(text).ids(), ElementsAreArray(ids));
  lease.Clear();
  EXPECT_EQ(cache_.pool().count(kCached), 3u);
  const KvLease hits = Match(text);
  EXPECT_THAT(hits.ids(), ElementsAreArray(ids));
  EXPECT_EQ(cache_.pool().count(kReady), 3u);
}

TEST_F(KvCacheTest, MatchIsTheCommonPrefixUpToTheLimit) {
  const KvLease lease = Fill(Text(48));
  Text fork(48);
  fork.tokens[20] = -1;
  fork.chain = PrefixChain(kSecret, HashRoot(kSecret, "", "model", "profile"));
  fork.chain.Append(fork.tokens);
  EXPECT_EQ(Match(fork).size(), 1u);
  EXPECT_EQ(Match(Text(48), 2).size(), 2u);
  EXPECT_EQ(Match(Text(15)).size(), 0u);
}

TEST_F(KvCacheTest, MatchEndsAtTheFirstHole) {
  const Text text(48);
  KvLease lease = cache_.Acquire(3).value();
  Publish(lease, 0, text);
  Publish(lease, 2, text);
  EXPECT_EQ(Match(text).size(), 1u);
}

TEST_F(KvCacheTest, CountPrefixHoldsAndCountsNothing) {
  { const KvLease lease = Fill(Text(48)); }
  EXPECT_EQ(Count(Text(64)), 3u);
  EXPECT_EQ(Count(Text(64), 2), 2u);
  EXPECT_EQ(cache_.pool().count(kCached), 3u);
  EXPECT_EQ(cache_.stats().hit_blocks + cache_.stats().missed_blocks, 0u);
}

TEST_F(KvCacheTest, TenantsDoNotSharePrefixes) {
  const KvLease lease = Fill(Text(32, 0, "alice"));
  EXPECT_EQ(Count(Text(32, 0, "alice")), 2u);
  EXPECT_EQ(Count(Text(32, 0, "bob")), 0u);
  EXPECT_EQ(Count(Text(32)), 0u);
}

TEST_F(KvCacheTest, AHashWithoutItsTokensIsNoHit) {
  const Text text(32);
  const KvLease lease = Fill(text);
  std::vector<TokenId> forged = text.tokens;
  forged[17] = 99;  // under the name of the true block
  EXPECT_EQ(cache_.CountPrefix(text.chain, forged, 100), 1u);
  EXPECT_EQ(cache_.MatchPrefix(text.chain, forged, 100).size(), 1u);
}

TEST_F(KvCacheTest, PublishReplacesABlockWhoseContentIsIndexed) {
  const Text text(16);
  const KvLease first = Fill(text);
  KvLease second = cache_.Acquire(1).value();
  const BlockId own = second.at(0);
  KvLease displaced = Publish(second, 0, text);
  EXPECT_EQ(second.at(0), first.at(0));
  EXPECT_THAT(displaced.ids(), ElementsAre(own));
  EXPECT_EQ(cache_.pool().references(first.at(0)), 2u);
  // It stays as it is until the caller is done with it.
  EXPECT_EQ(cache_.pool().state(own), kFilling);
  displaced.Clear();
  EXPECT_EQ(cache_.pool().state(own), kFree);
  EXPECT_EQ(cache_.stats().displaced_blocks, 1u);
}

TEST_F(KvCacheTest, PublishReplacesALandedBlockByACachedOne) {
  const Text text(16);
  BlockId indexed;
  {
    const KvLease first = Fill(text);
    indexed = first.at(0);
  }
  LandingLease landing = cache_.AcquireLanding(1).value();
  KvLease landed = landing.Commit(0, 1);
  Publish(landed, 0, text).Clear();
  EXPECT_EQ(landed.at(0), indexed);
  EXPECT_EQ(cache_.pool().count(kReady), 1u);
  EXPECT_EQ(cache_.pool().count(kFree), 7u);
}

TEST_F(KvCacheTest, PublishingTwiceChangesNothing) {
  const Text text(16);
  KvLease lease = Fill(text);
  const BlockId block = lease.at(0);
  EXPECT_TRUE(Publish(lease, 0, text).empty());
  EXPECT_EQ(lease.at(0), block);
  EXPECT_EQ(cache_.stats().published_blocks, 1u);
}

TEST_F(KvCacheTest, ABlockWhoseNameIsTakenStaysUsableAndUnknown) {
  const Text text(16);
  const KvLease first = Fill(text);
  KvLease second = cache_.Acquire(1).value();
  const std::vector<TokenId> other(16, 7);  // same chain: what a hash collision looks like
  EXPECT_TRUE(cache_.Publish(second, 0, text.chain, 0, other).empty());
  EXPECT_EQ(cache_.pool().state(second.at(0)), kReady);
  EXPECT_FALSE(cache_.pool().indexed(second.at(0)));
  EXPECT_EQ(Match(text).at(0), first.at(0));
}

TEST_F(KvCacheTest, EvictionShortensPrefixesFromTheirEnd) {
  { const KvLease lease = Fill(Text(8 * 16)); }
  EXPECT_EQ(cache_.pool().count(kCached), 8u);
  for (uint32_t n = 1; n <= 8; ++n) {
    const KvLease other = cache_.Acquire(n).value();
    EXPECT_EQ(Count(Text(8 * 16)), 8 - n);
    EXPECT_EQ(cache_.stats().evicted_blocks, n);
  }
}

TEST_F(KvCacheTest, EvictionTakesTheLeastRecentlyUsedPrefix) {
  { const KvLease lease = Fill(Text(32, 0)); }
  { const KvLease lease = Fill(Text(32, 1000)); }
  { const KvLease used_again = Match(Text(32, 0)); }
  const KvLease other = cache_.Acquire(6).value();
  EXPECT_EQ(Count(Text(32, 0)), 2u);
  EXPECT_EQ(Count(Text(32, 1000)), 0u);
}

TEST_F(KvCacheTest, HeldBlocksAreNeverEvicted) {
  const KvLease held = Fill(Text(48));
  EXPECT_FALSE(cache_.Acquire(6).ok());
  const KvLease rest = cache_.Acquire(5).value();
  EXPECT_EQ(Count(Text(48)), 3u);
}

TEST_F(KvCacheTest, StatsCountHitsAndMisses) {
  const KvLease lease = Fill(Text(32));
  const KvLease hits = Match(Text(80), 4);
  EXPECT_EQ(cache_.stats().hit_blocks, 2u);
  EXPECT_EQ(cache_.stats().missed_blocks, 2u);
}

}  // namespace
}  // namespace tandem
