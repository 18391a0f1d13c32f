// The router's side of sessions with workers that are there and do not do their part.
#include "common/rpc/session_client.h"

#include <gmock/gmock.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/mutex.h"
#include "common/rpc/convert.h"
#include "common/rpc/session_server.h"
#include "tests/common/rpc/message_samples.h"
#include "tests/common/rpc/recording_sinks.h"

namespace tandem {
namespace {

using ::testing::IsEmpty;

SessionLimits LimitsWithSilence(Duration silence_limit) {
  SessionLimits limits;
  limits.silence_limit = silence_limit;
  limits.first_backoff = Ms(5);
  limits.max_backoff = Ms(20);
  return limits;
}

const RouterHello kHello{.router_name = "router"};

WorkerHello Hello() {
  WorkerHello hello = SampleWorkerHello();
  hello.handshake.wire_version = kWireVersion;
  return hello;
}

std::string AddressOf(uint16_t port) { return absl::StrCat("127.0.0.1:", port); }

// Takes connections and says nothing.
class SilentListener {
 public:
  SilentListener() : listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(listen(listener_, 8), 0);
    socklen_t size = sizeof(address);
    EXPECT_EQ(getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
  }
  ~SilentListener() {
    for (int connection : connections_) close(connection);
    close(listener_);
  }

  uint16_t port() const { return port_; }

  // False: none came within 5 s, a quarter of gRPC's own patience with a connection.
  bool AwaitConnection() {
    pollfd waiting = {.fd = listener_, .events = POLLIN};
    if (poll(&waiting, 1, 5000) != 1) return false;
    connections_.push_back(accept(listener_, nullptr, nullptr));
    return connections_.back() >= 0;
  }

 private:
  const int listener_;
  uint16_t port_ = 0;
  std::vector<int> connections_;
};

// Answers every call with its hello and then with bytes that are no frame, and leaves it open.
class GarbledWorker : public grpc::CallbackGenericService {
 public:
  GarbledWorker() {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterCallbackGenericService(this);
    server_ = builder.BuildAndStart();
    port_ = static_cast<uint16_t>(port);
  }
  ~GarbledWorker() override { server_->Shutdown(std::chrono::system_clock::now()); }

  uint16_t port() const { return port_; }
  bool AwaitCalls(int count) {
    MutexLock lock(&mutex_);
    return changed_.WaitUntil(&mutex_, SystemClock().Now() + kTestPatience,
                              [&] { return calls_ >= count; });
  }

  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext*) override {
    MutexLock lock(&mutex_);
    ++calls_;
    changed_.NotifyAll();
    return new Call;
  }

 private:
  class Call : public grpc::ServerGenericBidiReactor {
   public:
    Call() { StartWrite(&hello_); }
    void OnWriteDone(bool /*ok*/) override {
      if (!std::exchange(garbled_, true)) StartWrite(&garbage_);
    }
    void OnCancel() override { Finish(grpc::Status::CANCELLED); }
    void OnDone() override { delete this; }

   private:
    static grpc::ByteBuffer Bytes(const std::string& bytes) {
      const grpc::Slice slice(bytes);
      return grpc::ByteBuffer(&slice, 1);
    }
    const grpc::ByteBuffer hello_ = Bytes(SerializeFrame({WorkerToRouter(Hello())}));
    const grpc::ByteBuffer garbage_ = Bytes("\xff\xff\xff");
    bool garbled_ = false;
  };

  uint16_t port_ = 0;
  Mutex mutex_;
  CondVar changed_;
  int calls_ ABSL_GUARDED_BY(mutex_) = 0;
  std::unique_ptr<grpc::Server> server_;
};

TEST(SessionClientTest, WorkerThatNeverAnswersIsGivenUpAndCalledAgain) {
  SilentListener worker;
  RecordingClientSink router;
  auto client =
      SessionClient::Start({AddressOf(worker.port())}, kHello, LimitsWithSilence(Ms(100)), &router);
  EXPECT_TRUE(worker.AwaitConnection());
  EXPECT_TRUE(worker.AwaitConnection());
  client->Shutdown();
  EXPECT_THAT(router.log.closed(), IsEmpty());  // it never was up
}

TEST(SessionClientTest, WorkerWhoseBytesAreNoFrameIsCutOffAtOnceAndCalledAgain) {
  GarbledWorker worker;
  RecordingClientSink router;
  auto client = SessionClient::Start({AddressOf(worker.port())}, kHello,
                                     LimitsWithSilence(std::chrono::hours(1)), &router);
  EXPECT_TRUE(worker.AwaitCalls(2));
  client->Shutdown();
  ASSERT_FALSE(router.log.closed().empty());
  EXPECT_TRUE(absl::IsInvalidArgument(router.log.closed()[0])) << router.log.closed()[0];
}

// Keeps the thread that calls it until it is let go.
class BlockingClientSink : public RecordingClientSink {
 public:
  void OnMessages(size_t worker, std::vector<WorkerToRouter> messages, ReadCredit credit) override {
    RecordingClientSink::OnMessages(worker, std::move(messages), std::move(credit));
    MutexLock lock(&mutex_);
    changed_.WaitUntil(&mutex_, SystemClock().Now() + kTestPatience, [&] { return !blocking_; });
  }
  void LetGo() {
    MutexLock lock(&mutex_);
    blocking_ = false;
    changed_.NotifyAll();
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  bool blocking_ ABSL_GUARDED_BY(mutex_) = true;
};

TEST(SessionClientTest, WorkersAreNotSilentWhileOneKeepsTheReader) {
  const Duration silence_limit = Ms(2000);
  RecordingServerSink workers[2];
  std::unique_ptr<SessionServer> servers[2];
  std::vector<std::string> addresses;
  for (int i = 0; i < 2; ++i) {
    auto server =
        SessionServer::Start({.limits = LimitsWithSilence(kTestPatience)}, Hello(), &workers[i]);
    ASSERT_TRUE(server.ok()) << server.status();
    servers[i] = *std::move(server);
    addresses.push_back(AddressOf(servers[i]->port()));
  }
  BlockingClientSink router;
  auto client = SessionClient::Start(addresses, kHello, LimitsWithSilence(silence_limit), &router);
  ASSERT_TRUE(router.log.AwaitOpened(2));
  const auto send_from_both = [&] {
    for (int i = 0; i < 2; ++i) {
      ASSERT_TRUE(workers[i].log.AwaitOpened(1));
      const SessionId session(workers[i].log.opened()[0]);
      EXPECT_TRUE(servers[i]->Send(session, {WorkerHeartbeat{}}).ok());
    }
  };
  send_from_both();
  ASSERT_TRUE(router.log.AwaitReceived(1));                    // the reader is kept from here on
  EXPECT_FALSE(router.log.AwaitClosed(1, 2 * silence_limit));  // long enough to be called silent
  EXPECT_FALSE(client->listening(0));
  EXPECT_FALSE(client->listening(1));
  send_from_both();
  router.LetGo();
  EXPECT_TRUE(router.log.AwaitReceived(4));
  EXPECT_THAT(router.log.closed(), IsEmpty());
  EXPECT_TRUE(router.log.AwaitClosed(2)) << "workers that are silent now are not given up";
}

}  // namespace
}  // namespace tandem
