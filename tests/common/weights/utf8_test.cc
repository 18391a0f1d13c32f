#include "common/weights/utf8.h"

#include <string>

#include "gtest/gtest.h"

namespace tandem {
namespace {

TEST(Utf8Test, AcceptsWellFormedText) {
  EXPECT_TRUE(IsUtf8(""));
  EXPECT_TRUE(IsUtf8("plain"));
  EXPECT_TRUE(IsUtf8(absl::string_view("\0", 1)));
  EXPECT_TRUE(IsUtf8("\u00e9\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff"));
}

TEST(Utf8Test, RefusesMalformedText) {
  for (absl::string_view text :
       {"\x80", "\xbf", "\xc3", "\xc3\x28", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xe2\x82",
        "\xe2\x28\xa1", "\xe2\x82\x28", "\xed\xa0\x80", "\xed\xbf\xbf", "\xf0\x8f\xbf\xbf",
        "\xf0\x9f\x98", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xfe", "\xff", "ok\xff"}) {
    EXPECT_FALSE(IsUtf8(text)) << testing::PrintToString(std::string(text));
  }
}

}  // namespace
}  // namespace tandem
