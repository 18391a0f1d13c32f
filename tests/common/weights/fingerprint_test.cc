#include "common/weights/fingerprint.h"

#include <random>
#include <set>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace tandem {
namespace {

std::string HexOf(absl::Span<const std::byte> bytes) {
  Digest128 digest;
  digest.AddBytes(bytes);
  return digest.Hex();
}

TEST(Digest128Test, EveryBitOfEveryLengthCounts) {
  std::set<std::string> seen;
  size_t inputs = 0;
  for (size_t size = 0; size <= 40; ++size) {
    std::vector<std::byte> bytes(size);
    seen.insert(HexOf(bytes));
    ++inputs;
    for (size_t bit = 0; bit < size * 8; ++bit) {
      bytes[bit / 8] ^= std::byte{1} << (bit % 8);
      seen.insert(HexOf(bytes));
      ++inputs;
      bytes[bit / 8] ^= std::byte{1} << (bit % 8);
    }
  }
  EXPECT_EQ(seen.size(), inputs);
}

TEST(Digest128Test, OneBitChangesAboutHalfOfEachLane) {
  std::mt19937_64 random(3);
  for (int lane : {0, 16}) {
    int changed = 0;
    constexpr int kRounds = 500;
    for (int round = 0; round < kRounds; ++round) {
      std::vector<std::byte> bytes(64);
      for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
      const uint64_t before = std::stoull(HexOf(bytes).substr(lane, 16), nullptr, 16);
      bytes[random() % 64] ^= std::byte{1} << (random() % 8);
      const uint64_t after = std::stoull(HexOf(bytes).substr(lane, 16), nullptr, 16);
      changed += __builtin_popcountll(before ^ after);
    }
    EXPECT_NEAR(changed / static_cast<double>(kRounds), 32.0, 2.0);
  }
}

TEST(Digest128Test, BordersBetweenPiecesCount) {
  Digest128 a, b;
  a.AddText("ab");
  a.AddText("c");
  b.AddText("a");
  b.AddText("bc");
  EXPECT_NE(a.Hex(), b.Hex());
}

TEST(Digest128Test, ValueIsTheSameOnEveryMachine) {
  Digest128 digest;
  digest.AddText("tandem");
  digest.AddInteger(42);
  EXPECT_EQ(digest.Hex(), "4315d9006f25c855b24dfdc277bf9d48");
}

}  // namespace
}  // namespace tandem
