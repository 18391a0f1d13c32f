#include "common/base/ids.h"

#include <sstream>
#include <type_traits>
#include <unordered_set>

#include "absl/hash/hash.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

static_assert(!std::is_convertible_v<uint32_t, BlockId>);
static_assert(!std::is_convertible_v<BlockId, uint32_t>);
static_assert(!std::is_convertible_v<RequestId, GrantId>);
static_assert(!std::is_constructible_v<GrantId, RequestId>);

TEST(StrongIdTest, StartsAtZeroAndOrdersByValue) {
  EXPECT_EQ(BlockId(), BlockId(0));
  EXPECT_LT(BlockId(1), BlockId(2));
  EXPECT_NE(StepId(1), StepId(2));
  EXPECT_EQ(RequestId(7).value(), 7u);
}

TEST(StrongIdTest, HashesAndPrints) {
  const std::unordered_set<BlockId, absl::Hash<BlockId>> ids = {BlockId(1), BlockId(1), BlockId(2)};
  EXPECT_EQ(ids.size(), 2u);
  std::ostringstream out;
  out << GrantId(18446744073709551615u);
  EXPECT_EQ(out.str(), "18446744073709551615");
}

}  // namespace
}  // namespace tandem
