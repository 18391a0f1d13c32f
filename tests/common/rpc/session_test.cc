// Sessions between a real server and a real client over loopback.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/rpc/convert.h"
#include "common/rpc/session_client.h"
#include "common/rpc/session_server.h"
#include "tests/common/rpc/message_samples.h"
#include "tests/common/rpc/recording_sinks.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

SessionLimits PatientLimits() {
  SessionLimits limits;
  limits.silence_limit = kTestPatience;  // tests send no heartbeats
  limits.first_backoff = Ms(5);
  limits.max_backoff = Ms(20);
  return limits;
}

WorkerHello Hello(uint64_t incarnation) {
  WorkerHello hello = SampleWorkerHello();
  hello.handshake.wire_version = kWireVersion;
  hello.handshake.incarnation = Incarnation(incarnation);
  return hello;
}

RouterHello HelloOfRouter() { return {.router_name = "router"}; }

std::unique_ptr<SessionServer> StartServer(SessionSink* sink, uint16_t port = 0,
                                           SessionLimits limits = PatientLimits(),
                                           uint64_t incarnation = 1) {
  auto server = SessionServer::Start({.host = "127.0.0.1", .port = port, .limits = limits},
                                     Hello(incarnation), sink);
  EXPECT_TRUE(server.ok()) << server.status();
  return server.ok() ? *std::move(server) : nullptr;
}

std::unique_ptr<SessionClient> StartClient(uint16_t port, SessionClientSink* sink,
                                           SessionLimits limits = PatientLimits()) {
  return SessionClient::Start({absl::StrCat("127.0.0.1:", port)}, HelloOfRouter(), limits, sink);
}

Cancel NumberedCancel(uint64_t n) { return {.request = RequestId(n), .epoch = 1}; }
Booked NumberedBooked(uint64_t n) {
  return {.request = RequestId(n), .epoch = 1, .cached_tokens = 0};
}

// Two frames may be unhandled, and 200 messages make a backlog.
SessionLimits NarrowLimits() {
  SessionLimits limits = PatientLimits();
  limits.max_unhandled_frames = 2;
  limits.max_queued_messages = 800;
  return limits;
}

// More messages make a backlog than go between the two ends, and it takes 23 full frames to end it.
SessionLimits DeepLimits() {
  SessionLimits limits = NarrowLimits();
  limits.max_queued_messages = 16000;
  return limits;
}

// Long enough for few of them to fill what is between the two ends.
TokenFrame NumberedFrame(uint64_t n) {
  TokenFrame frame{.request = RequestId(n), .epoch = 1};
  frame.tokens.assign(4000, 49000);
  return frame;
}
Generate NumberedGenerate(uint64_t n) {
  Generate generate = SampleGenerate();
  generate.request = RequestId(n);
  generate.prompt.assign(4000, 49000);
  return generate;
}

template <class Kind, class Message>
std::vector<uint64_t> RequestsOf(const std::vector<Message>& messages) {
  std::vector<uint64_t> requests;
  for (const Message& message : messages) {
    if (const Kind* kind = std::get_if<Kind>(&message)) requests.push_back(kind->request.value());
  }
  return requests;
}

class SessionTest : public ::testing::Test {
 protected:
  // Server and client, up.
  void Connect(SessionLimits server_limits = PatientLimits(),
               SessionLimits client_limits = PatientLimits()) {
    server_ = StartServer(&worker_, 0, server_limits);
    client_ = StartClient(server_->port(), &router_, client_limits);
    ASSERT_TRUE(router_.log.AwaitOpened(1));
    ASSERT_TRUE(worker_.log.AwaitOpened(1));
    session_ = SessionId(worker_.log.opened()[0]);
  }

  // Sends long frames to a router that is not silent until they make a backlog, or the session has
  // ended. Returns what was sent.
  std::vector<uint64_t> FillBacklog() {
    std::vector<uint64_t> sent;
    while (!server_->backlogged() && sent.size() < 20000) {
      if (sent.size() % 100 == 0) (void)client_->Send(0, {RouterHeartbeat{}});
      if (!server_->Send(session_, {NumberedFrame(sent.size())}).ok()) break;
      sent.push_back(sent.size());
    }
    return sent;
  }

  // Until the session has ended, a router that is not silent calls `read` every 50 ms. False: it
  // has not ended.
  bool AwaitClosedWhile(const std::function<void()>& read) {
    const Instant give_up = SystemClock().Now() + kTestPatience;
    while (!worker_.log.AwaitClosed(1, Ms(50))) {
      if (SystemClock().Now() > give_up) return false;
      if (!client_->backlogged(0)) (void)client_->Send(0, {RouterHeartbeat{}});
      read();
    }
    return true;
  }

  RecordingServerSink worker_;
  RecordingClientSink router_;
  std::unique_ptr<SessionServer> server_;
  std::unique_ptr<SessionClient> client_;
  SessionId session_;
};

TEST_F(SessionTest, HellosAreExchangedAndNotHandedOn) {
  Connect();
  EXPECT_THAT(router_.log.opened(), ElementsAre(1));
  EXPECT_THAT(router_.log.received(), IsEmpty());
  EXPECT_THAT(worker_.log.received(), IsEmpty());
}

TEST_F(SessionTest, MessagesArriveInOrderBothWays) {
  Connect();
  std::vector<uint64_t> expected;
  for (uint64_t n = 0; n < 2000; ++n) {
    expected.push_back(n);
    ASSERT_TRUE(client_->Send(0, {NumberedCancel(n)}).ok());
    ASSERT_TRUE(server_->Send(session_, {NumberedBooked(n)}).ok());
  }
  ASSERT_TRUE(worker_.log.AwaitReceived(2000));
  ASSERT_TRUE(router_.log.AwaitReceived(2000));
  EXPECT_EQ(RequestsOf<Cancel>(worker_.log.received()), expected);
  EXPECT_EQ(RequestsOf<Booked>(router_.log.received()), expected);
}

TEST_F(SessionTest, MessagesSentTogetherArriveTogether) {
  Connect();
  ASSERT_TRUE(client_->Send(0, {NumberedCancel(1), RouterHeartbeat{}, NumberedCancel(2)}).ok());
  ASSERT_TRUE(worker_.log.AwaitReceived(3));
  EXPECT_EQ(worker_.log.batches(), 1);
}

TEST_F(SessionTest, MessagesGatherWhileAFrameIsInFlight) {
  Connect();
  for (uint64_t n = 0; n < 5000; ++n) ASSERT_TRUE(client_->Send(0, {NumberedCancel(n)}).ok());
  ASSERT_TRUE(worker_.log.AwaitReceived(5000));
  EXPECT_LT(worker_.log.batches(), 4000);  // typically some hundred
}

TEST_F(SessionTest, LargePromptsPass) {
  Connect();
  Generate generate = SampleGenerate();
  generate.prompt.assign(kMaxSequenceTokens, 49151);
  ASSERT_TRUE(client_->Send(0, {generate}).ok());
  ASSERT_TRUE(worker_.log.AwaitReceived(1));
  const auto received = worker_.log.received();
  EXPECT_EQ(std::get<Generate>(received[0]).prompt, generate.prompt);
}

TEST_F(SessionTest, InvalidMessagesAreRefusedAtTheSender) {
  Connect();
  Generate generate = SampleGenerate();
  generate.prompt.clear();
  const absl::Status status = client_->Send(0, {RouterHeartbeat{}, generate});
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("generate.prompt"));
  EXPECT_TRUE(absl::IsInvalidArgument(client_->Send(0, {HelloOfRouter()})));
  ASSERT_TRUE(client_->Send(0, {NumberedCancel(9)}).ok());
  ASSERT_TRUE(worker_.log.AwaitReceived(1));
  EXPECT_THAT(RequestsOf<Cancel>(worker_.log.received()), ElementsAre(9));
  EXPECT_THAT(worker_.log.received(), SizeIs(1));  // the heartbeat beside the invalid one went too
}

TEST_F(SessionTest, SendingToNobodyIsRefused) {
  Connect();
  EXPECT_TRUE(absl::IsUnavailable(client_->Send(7, {RouterHeartbeat{}})));
  EXPECT_TRUE(absl::IsNotFound(server_->Send(SessionId(99), {WorkerHeartbeat{}})));
}

TEST_F(SessionTest, SilentRouterEndsTheSessionAtTheWorker) {
  SessionLimits impatient = PatientLimits();
  impatient.silence_limit = Ms(100);
  Connect(impatient, PatientLimits());
  ASSERT_TRUE(worker_.log.AwaitClosed(1));
  EXPECT_THAT(std::string(worker_.log.closed()[0].message()), HasSubstr("silent"));
  ASSERT_TRUE(router_.log.AwaitClosed(1));
  ASSERT_TRUE(router_.log.AwaitOpened(2));  // and the client calls again
}

TEST_F(SessionTest, SilentWorkerEndsTheSessionAtTheRouter) {
  SessionLimits impatient = PatientLimits();
  impatient.silence_limit = Ms(200);
  Connect(PatientLimits(), impatient);
  ASSERT_TRUE(router_.log.AwaitClosed(1));
  EXPECT_THAT(std::string(router_.log.closed()[0].message()), HasSubstr("silent"));
  ASSERT_TRUE(worker_.log.AwaitClosed(1));
}

TEST_F(SessionTest, EndedServerBringsTheWorkerDownAndANewLifeUp) {
  Connect();
  const uint16_t port = server_->port();
  server_.reset();
  ASSERT_TRUE(router_.log.AwaitClosed(1));
  ASSERT_TRUE(worker_.log.AwaitClosed(1));
  EXPECT_TRUE(absl::IsUnavailable(client_->Send(0, {RouterHeartbeat{}})));
  RecordingServerSink next_worker;
  server_ = StartServer(&next_worker, port, PatientLimits(), /*incarnation=*/2);
  ASSERT_NE(server_, nullptr);
  ASSERT_TRUE(router_.log.AwaitOpened(2));
  EXPECT_THAT(router_.log.opened(), ElementsAre(1, 2));
  ASSERT_TRUE(client_->Send(0, {NumberedCancel(3)}).ok());
  ASSERT_TRUE(next_worker.log.AwaitReceived(1));
  server_.reset();
}

TEST_F(SessionTest, ClientThatEndsClosesTheSession) {
  Connect();
  client_.reset();
  ASSERT_TRUE(worker_.log.AwaitClosed(1));
  EXPECT_THAT(router_.log.closed(), SizeIs(1));
  EXPECT_TRUE(absl::IsNotFound(server_->Send(session_, {WorkerHeartbeat{}})));
}

TEST_F(SessionTest, EndSessionTellsTheRouterWhy) {
  Connect();
  server_->EndSession(session_, absl::FailedPreconditionError("no thanks"));
  ASSERT_TRUE(router_.log.AwaitClosed(1));
  EXPECT_EQ(router_.log.closed()[0], absl::FailedPreconditionError("no thanks"));
  ASSERT_TRUE(worker_.log.AwaitClosed(1));
}

TEST_F(SessionTest, SlowRouterIsReadAsFarAsItsCreditsGoAndItsWorkerHearsOfTheBacklog) {
  Connect(DeepLimits(), NarrowLimits());
  router_.log.Hold();
  const std::vector<uint64_t> expected = FillBacklog();
  ASSERT_TRUE(server_->backlogged());
  EXPECT_LE(router_.log.batches(), 2);
  EXPECT_EQ(worker_.backlogs_cleared, 0);
  router_.log.LetGo();
  ASSERT_TRUE(router_.log.AwaitReceived(expected.size()));
  EXPECT_EQ(RequestsOf<TokenFrame>(router_.log.received()), expected);
  EXPECT_EQ(worker_.backlogs_cleared, 1);
  EXPECT_FALSE(server_->backlogged());
  EXPECT_THAT(router_.log.closed(), IsEmpty());
}

TEST_F(SessionTest, SlowWorkerIsReadAsFarAsItsCreditsGo) {
  Connect(NarrowLimits(), NarrowLimits());
  worker_.log.Hold();
  std::vector<uint64_t> expected;
  while (!client_->backlogged(0)) {
    expected.push_back(expected.size());
    ASSERT_TRUE(client_->Send(0, {NumberedGenerate(expected.back())}).ok());
    ASSERT_LT(expected.size(), 20000);
  }
  EXPECT_LE(worker_.log.batches(), 2);
  worker_.log.LetGo();
  ASSERT_TRUE(worker_.log.AwaitReceived(expected.size()));
  EXPECT_EQ(RequestsOf<Generate>(worker_.log.received()), expected);
  EXPECT_THAT(worker_.log.closed(), IsEmpty());
}

TEST_F(SessionTest, PeerIsNotSilentWhileNobodyListens) {
  SessionLimits client_limits = NarrowLimits();
  client_limits.max_unhandled_frames = 1;
  client_limits.silence_limit = Ms(200);
  Connect(NarrowLimits(), client_limits);
  router_.log.Hold();
  ASSERT_TRUE(server_->Send(session_, {NumberedBooked(1)}).ok());
  ASSERT_TRUE(router_.log.AwaitReceived(1));
  // A router that does listen finds the worker silent, twice, before this one does.
  RecordingClientSink listener;
  const auto other = StartClient(server_->port(), &listener, client_limits);
  ASSERT_TRUE(listener.log.AwaitClosed(2));
  EXPECT_THAT(router_.log.closed(), IsEmpty());
  router_.log.LetGo();
  ASSERT_TRUE(router_.log.AwaitClosed(1));  // now it is
}

TEST_F(SessionTest, RouterThatReadsNothingOfALongBacklogLosesItsSession) {
  SessionLimits impatient = DeepLimits();
  impatient.silence_limit = Ms(500);
  Connect(impatient, NarrowLimits());
  router_.log.Hold();
  FillBacklog();
  ASSERT_TRUE(AwaitClosedWhile([] {}));
  EXPECT_THAT(std::string(worker_.log.closed()[0].message()), HasSubstr("catch up"));
  EXPECT_FALSE(server_->backlogged());
  router_.log.LetGo();
  ASSERT_TRUE(router_.log.AwaitClosed(1));
  EXPECT_TRUE(absl::IsAborted(router_.log.closed()[0])) << router_.log.closed()[0];
}

TEST_F(SessionTest, RouterThatReadsALittleOfALongBacklogLosesItsSessionAsSoon) {
  SessionLimits impatient = DeepLimits();
  impatient.silence_limit = Ms(1000);
  Connect(impatient, NarrowLimits());
  router_.log.Hold();
  FillBacklog();
  ASSERT_TRUE(AwaitClosedWhile([&] { router_.log.LetOneGo(); }));
  EXPECT_THAT(std::string(worker_.log.closed()[0].message()), HasSubstr("catch up"));
  EXPECT_GT(router_.log.batches(), 2);
  EXPECT_EQ(worker_.backlogs_cleared, 1);  // by the end
  router_.log.LetGo();
  ASSERT_TRUE(router_.log.AwaitClosed(1));
  EXPECT_TRUE(absl::IsAborted(router_.log.closed()[0])) << router_.log.closed()[0];
}

TEST_F(SessionTest, WhatAWorkerSentBeforeItEndedTheSessionCountsThoughAWriteFailedSince) {
  Connect(PatientLimits(), NarrowLimits());
  router_.log.Hold();
  const Instant give_up = SystemClock().Now() + kTestPatience;
  for (uint64_t n = 1; n <= 3; ++n) {  // a frame each; the third is left unread
    ASSERT_TRUE(server_->Send(session_, {NumberedBooked(n)}).ok());
    while (!server_->all_written()) ASSERT_LT(SystemClock().Now(), give_up);
  }
  ASSERT_TRUE(router_.log.AwaitReceived(2));
  server_->EndSession(session_, absl::UnavailableError("enough"));
  while (!router_.log.AwaitClosed(1, Ms(5))) {
    ASSERT_LT(SystemClock().Now(), give_up);
    (void)client_->Send(0, {RouterHeartbeat{}});
  }
  EXPECT_THAT(RequestsOf<Booked>(router_.log.received()), ElementsAre(1, 2, 3));
  EXPECT_EQ(router_.log.closed()[0], absl::UnavailableError("enough"));
}

TEST_F(SessionTest, CreditsMayOutliveTheirSessions) {
  Connect();
  router_.log.Hold();
  worker_.log.Hold();
  ASSERT_TRUE(client_->Send(0, {NumberedCancel(1)}).ok());
  ASSERT_TRUE(server_->Send(session_, {NumberedBooked(1)}).ok());
  ASSERT_TRUE(worker_.log.AwaitReceived(1));
  ASSERT_TRUE(router_.log.AwaitReceived(1));
  client_.reset();
  server_.reset();
  router_.log.LetGo();
  worker_.log.LetGo();
}

TEST_F(SessionTest, FullOutgoingQueueEndsTheSession) {
  SessionLimits narrow = PatientLimits();
  narrow.max_queued_messages = 3;
  Connect(PatientLimits(), narrow);
  const absl::Status status = client_->Send(
      0, {RouterHeartbeat{}, RouterHeartbeat{}, RouterHeartbeat{}, RouterHeartbeat{}});
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  ASSERT_TRUE(router_.log.AwaitClosed(1));
  EXPECT_TRUE(absl::IsResourceExhausted(router_.log.closed()[0]));
  ASSERT_TRUE(worker_.log.AwaitClosed(1));
}

TEST_F(SessionTest, OtherWireVersionIsRefusedWithBothNamed) {
  WorkerHello hello = Hello(1);
  hello.handshake.wire_version = 9;
  hello.handshake.oldest_wire_version = 8;
  auto server = SessionServer::Start({.limits = PatientLimits()}, hello, &worker_);
  ASSERT_TRUE(server.ok()) << server.status();
  client_ = StartClient((*server)->port(), &router_);
  ASSERT_TRUE(worker_.log.AwaitClosed(2));  // again and again
  EXPECT_THAT(router_.log.opened(), IsEmpty());
}

TEST(SessionServerTest, BusyPortIsAnErrorThatSaysWhy) {
  RecordingServerSink sink;
  const auto first = StartServer(&sink);
  const auto second =
      SessionServer::Start({.port = first->port(), .limits = PatientLimits()}, Hello(1), &sink);
  EXPECT_TRUE(absl::IsUnavailable(second.status())) << second.status();
  EXPECT_THAT(std::string(second.status().message()),
              HasSubstr(absl::StrCat("cannot listen on 127.0.0.1:", first->port(),
                                     ": Address already in use")));
}

TEST(SessionClientTest, EndsAtOnceWhileNobodyAnswers) {
  RecordingServerSink sink;
  auto server = StartServer(&sink);
  const uint16_t port = server->port();
  server.reset();
  RecordingClientSink router;
  auto client = StartClient(port, &router);
  EXPECT_TRUE(absl::IsUnavailable(client->Send(0, {RouterHeartbeat{}})));
  client.reset();
  EXPECT_THAT(router.log.closed(), IsEmpty());
}

TEST(SessionServerTest, TwoRoutersHaveSessionsOfTheirOwn) {
  RecordingServerSink worker;
  const auto server = StartServer(&worker);
  RecordingClientSink a, b;
  const auto client_a = StartClient(server->port(), &a);
  ASSERT_TRUE(worker.log.AwaitOpened(1));
  const auto client_b = StartClient(server->port(), &b);
  ASSERT_TRUE(worker.log.AwaitOpened(2));
  ASSERT_TRUE(b.log.AwaitOpened(1));
  const auto ids = worker.log.opened();
  ASSERT_TRUE(server->Send(SessionId(ids[1]), {NumberedBooked(5)}).ok());
  ASSERT_TRUE(b.log.AwaitReceived(1));
  EXPECT_THAT(a.log.received(), IsEmpty());
}

}  // namespace
}  // namespace tandem
