#include "common/base/status_macros.h"

#include <memory>
#include <string>

#include "gtest/gtest.h"

namespace tandem {
namespace {

absl::StatusOr<int> Parse(int value) {
  if (value < 0) return absl::OutOfRangeError("negative");
  return value;
}

absl::Status Check(int value, int* passed) {
  RETURN_IF_ERROR(Parse(value));
  ++*passed;
  return absl::OkStatus();
}

absl::StatusOr<int> Sum(int a, int b) {
  ASSIGN_OR_RETURN(const int left, Parse(a));
  ASSIGN_OR_RETURN(const int right, Parse(b));
  return left + right;
}

absl::StatusOr<std::unique_ptr<int>> Moved(absl::StatusOr<std::unique_ptr<int>> source) {
  std::unique_ptr<int> value;
  ASSIGN_OR_RETURN(value, std::move(source));
  return value;
}

TEST(StatusMacrosTest, ReturnIfErrorStopsAtTheError) {
  int passed = 0;
  EXPECT_TRUE(Check(1, &passed).ok());
  EXPECT_EQ(Check(-1, &passed).code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(passed, 1);
}

TEST(StatusMacrosTest, AssignOrReturnGivesTheValueOrTheError) {
  EXPECT_EQ(Sum(1, 2).value(), 3);
  EXPECT_EQ(Sum(1, -2).status(), absl::OutOfRangeError("negative"));
}

TEST(StatusMacrosTest, AssignOrReturnMoves) {
  EXPECT_EQ(**Moved(std::make_unique<int>(5)), 5);
  EXPECT_FALSE(Moved(absl::InternalError("x")).ok());
}

TEST(WithContextTest, PutsTheContextInFrontAndKeepsTheCode) {
  EXPECT_EQ(WithContext(absl::NotFoundError("no key"), "file a"),
            absl::NotFoundError("file a: no key"));
  EXPECT_TRUE(WithContext(absl::OkStatus(), "file a").ok());
}

}  // namespace
}  // namespace tandem
