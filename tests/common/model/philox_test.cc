#include "common/model/philox.h"

#include <gmock/gmock.h>

#include <set>

namespace tandem {
namespace {

using ::testing::ElementsAre;

// The known answers that the generator's authors publish with it.
TEST(PhiloxTest, AgreesWithPublishedVectors) {
  EXPECT_THAT(Philox4x32({0, 0, 0, 0}, {0, 0}),
              ElementsAre(0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u));
  EXPECT_THAT(
      Philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
      ElementsAre(0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu));
  EXPECT_THAT(
      Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
      ElementsAre(0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u));
}

TEST(PhiloxTest, UniformDrawUsesEveryPartOfItsKey) {
  std::set<double> draws;
  for (const uint64_t seed : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 32}) {
    for (const uint32_t choice : {0u, 1u}) {
      for (const uint32_t index : {0u, 1u, 4000000000u}) {
        const double draw = UniformDraw(seed, choice, index);
        EXPECT_GE(draw, 0.0);
        EXPECT_LT(draw, 1.0);
        draws.insert(draw);
      }
    }
  }
  EXPECT_EQ(draws.size(), 18u);
}

TEST(PhiloxTest, UniformDrawHasTheMomentsOfAUniform) {
  constexpr int kDraws = 100000;
  double sum = 0, squares = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double draw = UniformDraw(42, 0, i);
    sum += draw;
    squares += draw * draw;
  }
  EXPECT_NEAR(sum / kDraws, 0.5, 0.004);  // more than 4 standard errors
  EXPECT_NEAR(squares / kDraws, 1.0 / 3.0, 0.004);
}

}  // namespace
}  // namespace tandem
