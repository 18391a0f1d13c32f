// Random operations on a KvCache against a model that knows, for each physical block, its state and
// the content that was written into it. The model follows every lease by hand; the cache must agree
// after each operation.
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <utility>

#include "common/kv/kv_cache.h"

namespace tandem {
namespace {

constexpr uint32_t kBlocks = 24;
constexpr HashSecret kSecret = {7};

// One of a small family of texts that share prefixes of different lengths.
struct Text {
  explicit Text(std::mt19937& random)
      : chain(kSecret, HashRoot(kSecret, random() % 4 == 0 ? "tenant" : "", "m", "p")) {
    const size_t blocks = 1 + random() % 6;
    for (size_t b = 0; b < blocks; ++b) {
      const TokenId variant = random() % 5 == 0 ? 1 : 0;
      for (uint32_t i = 0; i < kBlockTokens; ++i) tokens.push_back(variant);
    }
    chain.Append(tokens);
  }
  std::vector<TokenId> tokens;
  PrefixChain chain;
};

// Hash chains name a block's whole history, so the hash stands for the content of a block here.
struct ModelBlock {
  BlockState state = BlockState::kFree;
  int references = 0;
  bool indexed = false;
  BlockHash content;
  uint32_t generation = 0;
};

struct Holder {
  KvLease lease;
  Text text;
};

struct LandingHolder {
  LandingLease lease;
  Text text;
  std::vector<size_t> open;  // places that were not committed
};

class Model {
 public:
  explicit Model(uint32_t seed) : random_(seed) {}

  void Step() {
    switch (random_() % 16) {
      case 0:
      case 1:
        return Start();
      case 2:
      case 3:
        return PublishOne();
      case 4:
        return StartLanding();
      case 5:
      case 6:
        return CommitSome();
      case 7:
        return RevokeLanding();
      case 8:
        return EndOneQuarantine();
      case 9:
        return ShareSome();
      case 10:
        return TruncateOne();
      default:  // often enough that there is room
        return DropOne();
    }
  }

  void Compare() {
    cache_.pool().CheckConserved();
    std::map<BlockState, uint32_t> counts;
    for (uint32_t i = 0; i < kBlocks; ++i) {
      const BlockId id(i);
      const ModelBlock& expected = blocks_[i];
      ++counts[expected.state];
      ASSERT_EQ(cache_.pool().state(id), expected.state) << "block " << i;
      ASSERT_EQ(cache_.pool().references(id), static_cast<uint32_t>(expected.references));
      ASSERT_EQ(cache_.pool().indexed(id), expected.indexed);
      ASSERT_EQ(cache_.pool().generation(id), expected.generation);
    }
    for (const auto& [state, n] : counts) ASSERT_EQ(cache_.pool().count(state), n);
  }

  void DropAll() {
    while (!holders_.empty()) DropOne();
    while (!landings_.empty()) RevokeLanding();
    while (!quarantines_.empty()) EndOneQuarantine();
    EXPECT_EQ(cache_.pool().available(), kBlocks);
  }

  const KvCacheStats& stats() const { return cache_.stats(); }

 private:
  ModelBlock& At(BlockId id) { return blocks_[id.value()]; }

  void Release(absl::Span<const BlockId> ids) {
    for (const BlockId id : ids) {
      ModelBlock& block = At(id);
      if (--block.references > 0) continue;
      if (block.indexed) {
        block.state = BlockState::kCached;
      } else {
        Free(block);
      }
    }
  }
  void Free(ModelBlock& block) { block = ModelBlock{.generation = block.generation + 1}; }
  // Blocks that an acquisition took out of the cache: the model learns which, and checks that they
  // were CACHED and that there was no other way.
  void Evicted(absl::Span<const BlockId> taken, uint32_t free_before) {
    uint32_t evicted = 0;
    for (const BlockId id : taken) {
      ModelBlock& block = At(id);
      if (block.state == BlockState::kFree) continue;
      ASSERT_EQ(block.state, BlockState::kCached);
      Free(block);
      ++evicted;
    }
    ASSERT_EQ(evicted, taken.size() > free_before ? taken.size() - free_before : 0);
  }
  std::pair<uint32_t, uint32_t> FreeAndCached() const {
    uint32_t free = 0;
    uint32_t cached = 0;
    for (const ModelBlock& block : blocks_) {
      free += block.state == BlockState::kFree;
      cached += block.state == BlockState::kCached;
    }
    return {free, cached};
  }

  // A sequence starts: hits, then fresh blocks for the rest.
  void Start() {
    Text text(random_);
    KvLease lease = cache_.MatchPrefix(text.chain, text.tokens, random_() % 8);
    for (size_t i = 0; i < lease.size(); ++i) {
      ModelBlock& block = At(lease.at(i));
      ASSERT_TRUE(block.indexed);
      ASSERT_EQ(block.content, text.chain.hashes()[i]) << "a hit holds another prefix";
      block.state = BlockState::kReady;
      ++block.references;
    }
    const auto [free, cached] = FreeAndCached();
    const auto wanted = static_cast<uint32_t>(text.chain.size() - lease.size());
    auto fresh = cache_.Acquire(wanted);
    ASSERT_EQ(fresh.ok(), wanted <= free + cached);
    if (!fresh.ok()) {
      Release(lease.ids());
      return;
    }
    Evicted(fresh->ids(), free);
    for (const BlockId id : fresh->ids()) {
      At(id).state = BlockState::kFilling;
      At(id).references = 1;
    }
    lease.Append(std::move(fresh).value());
    holders_.push_back({std::move(lease), std::move(text)});
  }

  void PublishOne() {
    if (holders_.empty()) return;
    Holder& holder = holders_[random_() % holders_.size()];
    if (holder.lease.empty()) return;
    const size_t i = random_() % holder.lease.size();
    const BlockId own = holder.lease.at(i);
    const BlockHash content = holder.text.chain.hashes()[i];
    std::optional<BlockId> indexed;
    for (uint32_t b = 0; b < kBlocks; ++b) {
      if (blocks_[b].indexed && blocks_[b].content == content) indexed = BlockId(b);
    }
    KvLease displaced = cache_.Publish(holder.lease, i, holder.text.chain, i, holder.text.tokens);
    if (!indexed) {
      ASSERT_TRUE(displaced.empty());
      At(own).state = BlockState::kReady;
      At(own).indexed = true;
      At(own).content = content;
    } else if (*indexed != own) {
      ASSERT_EQ(displaced.ids(), absl::MakeConstSpan({own}));
      ASSERT_EQ(holder.lease.at(i), *indexed);
      At(*indexed).state = BlockState::kReady;
      ++At(*indexed).references;
      Release(displaced.ids());
    } else {
      ASSERT_TRUE(displaced.empty());
    }
  }

  void StartLanding() {
    Text text(random_);
    const auto wanted = static_cast<uint32_t>(text.chain.size());
    const auto [free, cached] = FreeAndCached();
    auto lease = cache_.AcquireLanding(wanted);
    ASSERT_EQ(lease.ok(), wanted <= free + cached);
    if (!lease.ok()) return;
    Evicted(lease->ids(), free);
    LandingHolder holder{std::move(lease).value(), std::move(text), {}};
    for (size_t i = 0; i < holder.lease.size(); ++i) {
      At(holder.lease.ids()[i]).state = BlockState::kLanding;
      holder.open.push_back(i);
    }
    landings_.push_back(std::move(holder));
  }

  void CommitSome() {
    if (landings_.empty()) return;
    LandingHolder& landing = landings_[random_() % landings_.size()];
    if (landing.open.empty()) return;
    // Commits go from the front, so that the place in the lease is the place in the text.
    const size_t first = landing.open.front();
    const size_t n = 1 + random_() % landing.open.size();
    KvLease committed = landing.lease.Commit(first, n);
    landing.open.erase(landing.open.begin(), landing.open.begin() + n);
    for (const BlockId id : committed.ids()) {
      At(id).state = BlockState::kReady;
      At(id).references = 1;
    }
    if (first == 0) {
      holders_.push_back({std::move(committed), landing.text});
    } else {
      Release(committed.ids());
    }
  }

  void RevokeLanding() {
    if (landings_.empty()) return;
    const size_t i = random_() % landings_.size();
    QuarantineLease quarantine = std::move(landings_[i].lease).Quarantine();
    ASSERT_EQ(quarantine.size(), landings_[i].open.size());
    for (const BlockId id : quarantine.ids()) At(id).state = BlockState::kQuarantined;
    quarantines_.push_back(std::move(quarantine));
    landings_.erase(landings_.begin() + i);
  }

  void EndOneQuarantine() {
    if (quarantines_.empty()) return;
    for (const BlockId id : quarantines_.back().ids()) Free(At(id));
    cache_.EndQuarantine(std::move(quarantines_.back()));
    quarantines_.pop_back();
  }

  void ShareSome() {
    if (holders_.empty()) return;
    const Holder& holder = holders_[random_() % holders_.size()];
    KvLease shared = holder.lease.Share(0, random_() % (holder.lease.size() + 1));
    for (const BlockId id : shared.ids()) ++At(id).references;
    holders_.push_back({std::move(shared), holder.text});
  }

  void TruncateOne() {
    if (holders_.empty()) return;
    KvLease& lease = holders_[random_() % holders_.size()].lease;
    const size_t n = random_() % (lease.size() + 1);
    Release(lease.ids().subspan(n));
    lease.Truncate(n);
  }

  void DropOne() {
    if (holders_.empty()) return;
    const size_t i = random_() % holders_.size();
    Release(holders_[i].lease.ids());
    holders_.erase(holders_.begin() + i);
  }

  std::mt19937 random_;
  std::vector<ModelBlock> blocks_{kBlocks};
  KvCache cache_{kBlocks};
  std::vector<Holder> holders_;
  std::vector<LandingHolder> landings_;
  std::vector<QuarantineLease> quarantines_;
};

TEST(KvCacheModelTest, AgreesWithTheModelAfterEveryOperation) {
  KvCacheStats all;
  for (uint32_t seed = 0; seed < 100; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Model model(seed);
    for (int step = 0; step < 500; ++step) {
      model.Step();
      model.Compare();
      if (testing::Test::HasFatalFailure()) return;
    }
    model.DropAll();
    model.Compare();
    all.hit_blocks += model.stats().hit_blocks;
    all.displaced_blocks += model.stats().displaced_blocks;
    all.evicted_blocks += model.stats().evicted_blocks;
  }
  // The walk went where it is interesting.
  EXPECT_GT(all.hit_blocks, 300u);
  EXPECT_GT(all.displaced_blocks, 300u);
  EXPECT_GT(all.evicted_blocks, 300u);
}

}  // namespace
}  // namespace tandem
