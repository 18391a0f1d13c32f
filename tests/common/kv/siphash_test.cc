#include "common/kv/siphash.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "absl/strings/escaping.h"

namespace tandem {
namespace {

struct Vector {
  size_t length;
  const char* output;
};

// From the authors' published vectors for SipHash-2-4-128: key 00 01 .. 0f, message 00 01 ..
// length-1.
constexpr Vector kVectors[] = {
    {0, "a3817f04ba25a8e66df67214c7550293"},  {1, "da87c1d86b99af44347659119b22fc45"},
    {2, "8177228da4a45dc7fca38bdef60affe4"},  {3, "9c70b60c5267a94e5f33b6b02985ed51"},
    {4, "f88164c12d9c8faf7d0f6e7c7bcd5579"},  {5, "1368875980776f8854527a07690e9627"},
    {6, "14eeca338b208613485ea0308fd7a15e"},  {7, "a1f1ebbed8dbc153c0b84aa61ff08239"},
    {8, "3b62a9ba6258f5610f83e264f31497b4"},  {9, "264499060ad9baabc47f8b02bb6d71ed"},
    {15, "5493e99933b0a8117e08ec0f97cfc3d9"}, {16, "6ee2a4ca67b054bbfd3315bf85230577"},
    {31, "2939b0183223fafc1723de4f52c43d35"}, {32, "7c3956ca5eeafc3e363e9d556546eb68"},
    {62, "5853542321f567a005d547a4f04759bd"}, {63, "5150d1772f50834a503e069a973fbd7c"},
};

TEST(SipHashTest, AgreesWithTheOfficialVectors) {
  std::array<uint8_t, 16> key;
  std::iota(key.begin(), key.end(), 0);
  for (const Vector& vector : kVectors) {
    std::vector<uint8_t> message(vector.length);
    std::iota(message.begin(), message.end(), 0);
    std::string bytes;
    for (const uint64_t word : SipHash128(key, message)) {
      for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(word >> (8 * i)));
    }
    EXPECT_EQ(absl::BytesToHexString(bytes), vector.output) << "length " << vector.length;
  }
}

}  // namespace
}  // namespace tandem
