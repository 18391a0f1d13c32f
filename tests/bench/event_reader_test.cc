#include "tests/bench/event_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tandem::bench {
namespace {

using ::testing::ElementsAre;
using ::testing::Field;

const std::string kChunked =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    "9\r\ndata: a\n\n\r\n"
    "4\r\ndata\r\n7;x=1\r\n:b\r\n\r\n:\r\n1\r\n\n\r\n"
    "0\r\n\r\n";

TEST(EventReaderTest, EveryCutOfTheBytesGivesTheSameEvents) {
  for (size_t cut = 0; cut <= kChunked.size(); ++cut) {
    EventReader reader;
    ASSERT_TRUE(reader.Feed(kChunked.substr(0, cut), 1));
    ASSERT_TRUE(reader.Feed(kChunked.substr(cut), 2));
    EXPECT_TRUE(reader.complete());
    EXPECT_EQ(reader.status(), 200);
    EXPECT_THAT(reader.events(),
                ElementsAre(Field(&TimedEvent::data, "a"), Field(&TimedEvent::data, "b")));
  }
}

TEST(EventReaderTest, AnEventHasTheTimeOfTheBytesThatEndedIt) {
  EventReader reader;
  const size_t before_end_of_a = kChunked.find("a\n") + 1;
  reader.Feed(kChunked.substr(0, before_end_of_a), 1);
  EXPECT_TRUE(reader.events().empty());
  reader.Feed(kChunked.substr(before_end_of_a), 2);
  EXPECT_THAT(reader.events(),
              ElementsAre(Field(&TimedEvent::time, 2), Field(&TimedEvent::time, 2)));
  EXPECT_EQ(reader.first_byte(), 1);
}

TEST(EventReaderTest, ABodyOfKnownLengthIsComplete) {
  EventReader reader;
  reader.Feed("HTTP/1.1 429 Too Many\r\nContent-Length: 4\r\n\r\nbu", 1);
  EXPECT_FALSE(reader.complete());
  reader.Feed("sy", 1);
  EXPECT_TRUE(reader.complete());
  EXPECT_EQ(reader.status(), 429);
  EXPECT_EQ(reader.text(), "busy");
}

TEST(EventReaderTest, AStreamWithoutALengthEndsWithItsConnection) {
  EventReader reader;
  reader.Feed("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: a\n\n", 1);
  EXPECT_FALSE(reader.complete());
  EXPECT_THAT(reader.events(), ElementsAre(Field(&TimedEvent::data, "a")));
}

TEST(EventReaderTest, WhatIsNoHttpIsRefused) {
  EventReader reader;
  EXPECT_FALSE(reader.Feed("SSH-2.0-OpenSSH_9.2\r\n\r\n", 1));
}

}  // namespace
}  // namespace tandem::bench
