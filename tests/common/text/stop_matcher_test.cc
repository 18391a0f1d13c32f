#include "common/text/stop_matcher.h"

#include <gmock/gmock.h>

namespace tandem {
namespace {

struct Outcome {
  std::string text;
  std::optional<size_t> match;
};

// Feeds `text` in pieces of `piece` bytes.
Outcome Feed(std::vector<std::string> stops, const std::string& text, size_t piece,
             bool include_stop = false) {
  StopMatcher matcher(std::move(stops), include_stop);
  Outcome outcome;
  for (size_t i = 0; i < text.size(); i += piece) {
    StopMatcher::Result result = matcher.Append(text.substr(i, piece));
    outcome.text += result.text;
    if (result.match) outcome.match = result.match;
  }
  outcome.text += matcher.Finish();
  return outcome;
}

TEST(StopMatcherTest, TheResultDoesNotDependOnThePieces) {
  for (size_t piece = 1; piece <= 12; ++piece) {
    const Outcome outcome = Feed({"END", "\n\n"}, "one EN two\nthree END four", piece);
    EXPECT_EQ(outcome.text, "one EN two\nthree ");
    EXPECT_EQ(outcome.match, 0u);
  }
}

TEST(StopMatcherTest, IncludeStopSendsItAsTheEnd) {
  for (size_t piece = 1; piece <= 8; ++piece) {
    EXPECT_EQ(Feed({"END"}, "one END four", piece, /*include_stop=*/true).text, "one END");
  }
}

TEST(StopMatcherTest, HoldsBackOnlyWhatMayBecomeAStop) {
  StopMatcher matcher({"stop"});
  EXPECT_EQ(matcher.Append("a s").text, "a ");
  EXPECT_EQ(matcher.Append("to").text, "");
  EXPECT_EQ(matcher.Append("ast").text, "stoa");
  EXPECT_EQ(matcher.Finish(), "st");
}

TEST(StopMatcherTest, FindsAStopThatOverlapsAFalseStart) {
  for (size_t piece = 1; piece <= 8; ++piece) {
    EXPECT_EQ(Feed({"aab"}, "xaaaab!", piece).text, "xaa");
    EXPECT_EQ(Feed({"abab", "babc"}, "xxabcababc", piece).text, "xxabc");
  }
}

TEST(StopMatcherTest, TheFirstToBeCompleteWinsThenTheLongest) {
  EXPECT_EQ(Feed({"cde", "bc"}, "abcde", 1).match, 1u);
  const Outcome outcome = Feed({"c", "bc"}, "abcd", 2);
  EXPECT_EQ(outcome.match, 1u);
  EXPECT_EQ(outcome.text, "a");
}

TEST(StopMatcherTest, AfterAMatchTheStreamIsOver) {
  StopMatcher matcher({"x"});
  EXPECT_EQ(matcher.Append("axb").text, "a");
  EXPECT_TRUE(matcher.matched());
  EXPECT_EQ(matcher.Append("cx").text, "");
  EXPECT_EQ(matcher.Finish(), "");
}

TEST(StopMatcherTest, EmptyStopsNeverMatchAndKeepTheNumbering) {
  EXPECT_EQ(Feed({}, "abc", 1).text, "abc");
  const Outcome outcome = Feed({"", "b"}, "abc", 1);
  EXPECT_EQ(outcome.text, "a");
  EXPECT_EQ(outcome.match, 1u);
}

TEST(StopMatcherTest, WorksOnCharactersOfSeveralBytes) {
  for (size_t piece = 1; piece <= 5; ++piece)
    EXPECT_EQ(Feed({"。終"}, "はい。い。終わり", piece).text, "はい。い");
}

}  // namespace
}  // namespace tandem
