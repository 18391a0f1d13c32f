#include "common/telemetry/log.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdio.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <future>
#include <string>
#include <thread>
#include <vector>

namespace tandem {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

constexpr int64_t kTime = 1'700'000'000'123'456'789;

std::string Line(std::string_view event, std::initializer_list<LogField> fields = {}) {
  return FormatLogLine(kTime, Level::kInfo, "decode", event, fields);
}

std::string Value(std::string_view value) {
  const std::string line = Line("e", {{"v", value}});
  return line.substr(line.find("v=") + 2, line.size() - line.find("v=") - 3);
}

// Sends stderr to a file for as long as it lives.
class CapturedStderr {
 public:
  CapturedStderr() : path_(::testing::TempDir() + "/log_test_" + std::to_string(getpid())) {
    saved_ = dup(STDERR_FILENO);
    const int file = open(path_.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_APPEND, 0600);
    dup2(file, STDERR_FILENO);
    close(file);
  }
  ~CapturedStderr() { Stop(); }
  std::vector<std::string> Stop() {
    std::vector<std::string> lines;
    if (saved_ < 0) return lines;
    dup2(saved_, STDERR_FILENO);
    close(saved_);
    saved_ = -1;
    std::ifstream in(path_);
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    unlink(path_.c_str());
    return lines;
  }

 private:
  std::string path_;
  int saved_;
};

TEST(LogLineTest, HasTimeLevelRoleEventAndFields) {
  EXPECT_EQ(Line("grant sent", {{"request", std::string("cmpl-7")},
                                {"blocks", 12u},
                                {"delta", -3},
                                {"late", true},
                                {"ms", 1.5}}),
            "2023-11-14T22:13:20.123456Z I decode \"grant sent\" request=cmpl-7 blocks=12 "
            "delta=-3 late=true ms=1.5\n");
}

TEST(LogLineTest, PlainTextIsNotQuoted) {
  EXPECT_EQ(Value("10.0.0.1:8000/a,b"), "10.0.0.1:8000/a,b");
}

TEST(LogLineTest, EmptyTextIsVisible) { EXPECT_EQ(Value(""), "\"\""); }

TEST(LogLineTest, LineBreaksAndQuotesCannotForgeALine) {
  EXPECT_EQ(Value("a\r\n2023 I router \"x\" k=v\\\t"), R"("a\r\n2023 I router \"x\" k=v\\\t")");
}

TEST(LogLineTest, ControlCharactersAreEscaped) {
  EXPECT_EQ(Value(std::string_view("\x1b[2J\0\x7f", 6)), R"("\x1b[2J\x00\x7f")");
}

TEST(LogLineTest, ValidUtf8Stays) { EXPECT_EQ(Value("čaj 茶 🍵"), "\"čaj 茶 🍵\""); }

TEST(LogLineTest, InvalidUtf8IsEscaped) {
  EXPECT_EQ(Value("a\xff"), R"("a\xff")");
  EXPECT_EQ(Value("\xc0\xaf"), R"("\xc0\xaf")");                  // overlong
  EXPECT_EQ(Value("\xed\xa0\x80"), R"("\xed\xa0\x80")");          // surrogate
  EXPECT_EQ(Value("\xf4\x90\x80\x80"), R"("\xf4\x90\x80\x80")");  // past the last code point
  EXPECT_EQ(Value("\xe8\x8c"), R"("\xe8\x8c")");                  // cut short
}

TEST(LogLineTest, DirectionAndLineSeparatorsAreEscaped) {
  EXPECT_EQ(Value("a\u202eb"), R"("a\xe2\x80\xaeb")");
  EXPECT_EQ(Value("a\u2028b"), R"("a\xe2\x80\xa8b")");
  EXPECT_EQ(Value("a\u0085b"), R"("a\xc2\x85b")");
}

TEST(LogLineTest, LongValuesAreCutAndLaterFieldsKept) {
  const std::string line = Line("e", {{"v", std::string(10000, 'x')}, {"request", "r1"}});
  EXPECT_THAT(line, HasSubstr("xxx...\" request=r1\n"));
}

TEST(LogLineTest, LongLinesAreCutToOneWrite) {
  const std::string bad(2000, '\x01');
  const std::string line = Line("e", {{"v", bad}, {"request", "r1"}});
  EXPECT_THAT(line, SizeIs(kMaxLogLineBytes));
  EXPECT_THAT(line, EndsWith("...\n"));
}

TEST(LogTest, LevelsAboveTheSetOneAreDropped) {
  StartLog(Level::kWarn, "router");
  CapturedStderr captured;
  Log(Level::kInfo, "dropped");
  Log(Level::kWarn, "kept");
  const auto lines = captured.Stop();
  ASSERT_THAT(lines, SizeIs(1));
  EXPECT_THAT(lines[0], HasSubstr(" W router kept"));
  EXPECT_FALSE(LogEnabled(Level::kInfo));
}

TEST(LogTest, LinesOfManyThreadsDoNotMix) {
  StartLog(Level::kInfo, "router");
  CapturedStderr captured;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t] {
      for (int i = 0; i < 200; ++i) Log(Level::kInfo, "event", {{"t", t}, {"end", "e"}});
    });
  }
  for (auto& thread : threads) thread.join();
  const auto lines = captured.Stop();
  ASSERT_THAT(lines, SizeIs(800));
  for (const auto& line : lines) EXPECT_THAT(line, EndsWith(" end=e"));
}

// In place of stderr: a pipe that nobody reads.
class UnreadStderr {
 public:
  UnreadStderr() : saved_(dup(STDERR_FILENO)) {
    int ends[2];
    if (pipe(ends) != 0) std::abort();
    read_end_ = ends[0];
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
  }
  ~UnreadStderr() {
    dup2(saved_, STDERR_FILENO);
    close(saved_);
    CloseReader();
  }
  void CloseReader() {
    if (read_end_ >= 0) close(read_end_);
    read_end_ = -1;
  }

 private:
  const int saved_;
  int read_end_ = -1;
};

TEST(LogTest, FullPipeHoldsNobodyUp) {
  StartLog(Level::kInfo, "router");
  UnreadStderr unread;
  auto logged = std::async(std::launch::async, [] {
    for (int i = 0; i < 100; ++i) Log(Level::kInfo, "event", {{"v", std::string(2000, 'x')}});
  });
  EXPECT_EQ(logged.wait_for(std::chrono::seconds(10)), std::future_status::ready);
  unread.CloseReader();
}

TEST(LogTest, ClosedPipeEndsNobody) {
  StartLog(Level::kInfo, "router");
  UnreadStderr unread;
  unread.CloseReader();
  Log(Level::kInfo, "event");
}

TEST(LevelTest, NamesAreKnownAndOthersAreNot) {
  EXPECT_EQ(LevelFromName("debug"), Level::kDebug);
  EXPECT_EQ(LevelFromName("error"), Level::kError);
  EXPECT_EQ(LevelFromName("loud"), std::nullopt);
}

}  // namespace
}  // namespace tandem
