// What LocalTransport does with peers that do not keep to its frames.
#include "common/transfer/local/local_transport.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "common/base/check.h"
#include "common/base/crc32c.h"
#include "common/base/shareable_memory.h"
#include "tests/common/transfer/engine_node.h"

namespace tandem {
namespace {

std::unique_ptr<LocalTransport> MakeLocal() {
  absl::StatusOr<std::unique_ptr<LocalTransport>> transport = LocalTransport::Create();
  TANDEM_CHECK_MSG(transport.ok(), transport.status().message());
  return *std::move(transport);
}

std::string RawFrame(uint32_t length, uint8_t kind, const std::string& body) {
  std::string bytes(reinterpret_cast<const char*>(&length), sizeof(length));
  bytes.push_back(static_cast<char>(kind));
  return bytes + body;
}

// A process of ours that speaks raw bytes.
class RawPeer {
 public:
  explicit RawPeer(const std::string& name) : fd_(socket(AF_UNIX, SOCK_STREAM, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path + 1, name.data(), name.size());
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
    TANDEM_CHECK(connect(fd_, reinterpret_cast<sockaddr*>(&address), length) == 0);
  }
  ~RawPeer() { close(fd_); }
  void Send(uint32_t length, uint8_t kind, const std::string& body) {
    const std::string bytes = RawFrame(length, kind, body);
    TANDEM_CHECK(send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
                 static_cast<ssize_t>(bytes.size()));
  }
  // What has arrived, at most 4 KB of it.
  std::string Read() {
    std::string bytes(4096, '\0');
    const ssize_t got = recv(fd_, bytes.data(), bytes.size(), MSG_DONTWAIT);
    bytes.resize(std::max<ssize_t>(0, got));
    return bytes;
  }
  // Whether the other side has hung up.
  bool ended() {
    char byte;
    const ssize_t got = recv(fd_, &byte, 1, MSG_DONTWAIT);
    return got == 0 || (got < 0 && errno == ECONNRESET);
  }

 private:
  const int fd_;
};

class Recorder final : public TransportSink {
 public:
  explicit Recorder(absl::Span<std::byte> memory) : memory_(memory) {}
  void OnGreeting(ConnId conn, absl::string_view) override { greeted = conn; }
  void OnControl(ConnId, absl::string_view bytes) override { controls.emplace_back(bytes); }
  std::optional<Placement> OnSegmentArriving(ConnId, absl::string_view, size_t length) override {
    if (length != memory_.size()) return std::nullopt;
    return Placement{memory_, SegmentToken(++tokens), piece_bytes};
  }
  void OnSegmentReceived(ConnId, SegmentToken, bool ok,
                         absl::Span<const uint32_t> crc32c) override {
    received.push_back(ok);
    piece_crc32c.assign(crc32c.begin(), crc32c.end());
  }
  void OnSegmentSent(ConnId, SegmentToken, bool) override {}
  void OnConnectionDown(ConnId, absl::string_view) override { ++downs; }

  ConnId greeted;
  std::vector<std::string> controls;
  std::vector<bool> received;
  std::vector<uint32_t> piece_crc32c;  // of the last received
  size_t piece_bytes = 0;
  uint64_t tokens = 0;
  int downs = 0;

 private:
  absl::Span<std::byte> memory_;
};

constexpr uint8_t kGreeting = 1, kControl = 2, kSegment = 3, kSegmentEnd = 4, kMemory = 5;
constexpr uint64_t kVersion = 0x324c4454;

std::string Greeting(const std::string& words, uint64_t version, const SharedRegion& shared = {}) {
  const uint64_t head[] = {version, static_cast<uint64_t>(int64_t{shared.fd}),
                           reinterpret_cast<uintptr_t>(shared.memory.data()), shared.memory.size()};
  return std::string(reinterpret_cast<const char*>(head), sizeof(head)) + words;
}

std::string Announcement(uint64_t number, const void* source, uint64_t length) {
  const uint64_t words[] = {number, reinterpret_cast<uintptr_t>(source), length};
  return std::string(reinterpret_cast<const char*>(words), sizeof(words));
}

class LocalTransportTest : public ::testing::Test {
 protected:
  void PollAll() {
    for (int i = 0; i < 20; ++i) transport_->Poll(&sink_);
  }
  void Greet() { GreetWith({}); }
  void GreetWith(const SharedRegion& shared) {
    const std::string greeting = Greeting("hello", kVersion, shared);
    peer_.Send(greeting.size(), kGreeting, greeting);
    PollAll();
    ASSERT_NE(sink_.greeted, ConnId());
  }

  std::vector<std::byte> memory_ =
      std::vector<std::byte>(size_t{4} << 20);  // more than one Poll copies
  std::unique_ptr<LocalTransport> transport_ = MakeLocal();
  Recorder sink_{absl::MakeSpan(memory_)};
  RawPeer peer_{transport_->LocalAddress()};
};

TEST_F(LocalTransportTest, SegmentIsReadFromThePeersMemory) {
  Greet();
  const std::vector<std::byte> source(memory_.size(), std::byte{7});
  peer_.Send(24, kSegment, Announcement(1, source.data(), source.size()));
  PollAll();
  EXPECT_EQ(sink_.received, std::vector<bool>{true});
  EXPECT_EQ(memory_, source);
}

TEST_F(LocalTransportTest, PeerOfAnotherVersionIsHungUpBeforeItIsHeard) {
  // The first version's greeting had no head.
  for (const std::string& greeting : {std::string("hello of the first version, a long one indeed"),
                                      Greeting("hello", kVersion + 1), std::string("short")}) {
    RawPeer peer(transport_->LocalAddress());
    peer.Send(greeting.size(), kGreeting, greeting);
    PollAll();
    EXPECT_TRUE(peer.ended());
  }
  EXPECT_EQ(sink_.greeted, ConnId());
  EXPECT_EQ(sink_.downs, 0);
}

class MappedMemoryTest : public LocalTransportTest {
 protected:
  MappedMemoryTest() {
    if (memory().region().fd >= 0) std::fill(bytes().begin(), bytes().end(), std::byte{7});
  }
  void SetUp() override {
    if (memory().region().fd < 0) GTEST_SKIP() << "no huge pages for shared memory here";
  }
  ShareableMemory& memory() { return *shared_; }
  absl::Span<std::byte> bytes() { return memory().memory(); }
  void Announce(const void* source) {
    peer_.Send(24, kSegment, Announcement(1, source, memory_.size()));
    PollAll();
  }
  std::string lanes() const { return transport_->DescribeLanes(sink_.greeted); }

  const std::unique_ptr<ShareableMemory> shared_ =
      ShareableMemory::Create(memory_.size() + 4096).value();
};

TEST_F(MappedMemoryTest, SegmentIsReadThroughTheMapping) {
  // The claim names addresses that are not mapped in this process: nothing else can read them.
  constexpr uintptr_t kElsewhere = 1 << 20;
  GreetWith({memory().region().fd, {reinterpret_cast<std::byte*>(kElsewhere), bytes().size()}});
  EXPECT_EQ(lanes(), "local/mapped");
  bytes()[4096] = std::byte{8};
  Announce(reinterpret_cast<void*>(kElsewhere + 4096));
  EXPECT_EQ(sink_.received, std::vector<bool>{true});
  EXPECT_TRUE(std::equal(memory_.begin(), memory_.end(), bytes().begin() + 4096));
}

TEST_F(MappedMemoryTest, EachPieceComesWithTheChecksumOfItsBytes) {
  sink_.piece_bytes = memory_.size() / 4;
  GreetWith(memory().region());
  bytes()[0] = std::byte{8};
  Announce(bytes().data());
  std::vector<uint32_t> expected;
  for (size_t i = 0; i < 4; ++i) {
    expected.push_back(Crc32c(bytes().subspan(i * sink_.piece_bytes, sink_.piece_bytes)));
  }
  EXPECT_EQ(sink_.piece_crc32c, expected);
  EXPECT_TRUE(std::equal(memory_.begin(), memory_.end(), bytes().begin()));
}

TEST_F(MappedMemoryTest, SegmentBesideTheMappingIsReadByTheKernel) {
  GreetWith(memory().region());
  const std::vector<std::byte> source(memory_.size(), std::byte{9});
  Announce(source.data());
  EXPECT_EQ(sink_.received, std::vector<bool>{true});
  EXPECT_EQ(memory_, source);
  EXPECT_TRUE(sink_.piece_crc32c.empty());
}

TEST_F(MappedMemoryTest, SegmentThatOverrunsTheMappingFails) {
  constexpr uintptr_t kElsewhere = 1 << 20;
  GreetWith({memory().region().fd, {reinterpret_cast<std::byte*>(kElsewhere), bytes().size()}});
  Announce(reinterpret_cast<void*>(kElsewhere + 8192));
  EXPECT_EQ(sink_.received, std::vector<bool>{false});
}

TEST_F(MappedMemoryTest, FileShorterThanClaimedIsNotMapped) {
  GreetWith({memory().region().fd, {bytes().data(), bytes().size() + (size_t{1} << 30)}});
  EXPECT_EQ(lanes(), "local/process_vm_readv");
}

TEST_F(MappedMemoryTest, FileThatMayShrinkIsNotMapped) {
  const int fd = memfd_create("unsealed", MFD_CLOEXEC);
  ASSERT_EQ(ftruncate(fd, 1 << 20), 0);
  GreetWith({fd, {bytes().data(), 1 << 20}});
  EXPECT_EQ(lanes(), "local/process_vm_readv");
  close(fd);
}

TEST_F(MappedMemoryTest, MemoryIsClaimedOnce) {
  GreetWith(memory().region());
  peer_.Send(24, kMemory, std::string(24, '\xff'));
  PollAll();
  EXPECT_TRUE(peer_.ended());
}

TEST_F(LocalTransportTest, SegmentsThatWereCopiedTogetherAreToldOnce) {
  Greet();
  std::vector<std::byte> memory(4096);
  Recorder sink(absl::MakeSpan(memory));
  const std::vector<std::byte> source(memory.size(), std::byte{7});
  std::string ends;
  for (uint64_t number = 1; number <= 3; ++number) {
    peer_.Send(24, kSegment, Announcement(number, source.data(), source.size()));
    const uint64_t end[] = {number, 1};
    ends.append(reinterpret_cast<const char*>(end), sizeof(end));
  }
  for (int i = 0; i < 20; ++i) transport_->Poll(&sink);
  EXPECT_EQ(peer_.Read(), RawFrame(ends.size(), kSegmentEnd, ends));
}

TEST_F(LocalTransportTest, SegmentAtAnAddressThatIsNotThePeersFails) {
  Greet();
  peer_.Send(24, kSegment, Announcement(1, nullptr, memory_.size()));
  PollAll();
  EXPECT_EQ(sink_.received, std::vector<bool>{false});
  EXPECT_EQ(sink_.downs, 0);
  EXPECT_FALSE(peer_.ended());
}

TEST_F(LocalTransportTest, CloseEndsSegmentsThatAreNotCopied) {
  Greet();
  const std::vector<std::byte> source(memory_.size());
  peer_.Send(24, kSegment, Announcement(1, source.data(), source.size()));
  peer_.Send(24, kSegment, Announcement(2, source.data(), source.size()));
  transport_->Poll(&sink_);
  EXPECT_FALSE(transport_->Arm());
  transport_->Close(sink_.greeted);
  PollAll();
  EXPECT_EQ(sink_.received, (std::vector<bool>{false, false}));
  EXPECT_TRUE(peer_.ended());
  EXPECT_TRUE(transport_->Arm());
}

TEST_F(LocalTransportTest, FrameLongerThanAnyMessageEndsTheConnection) {
  Greet();
  peer_.Send(~uint32_t{0}, kControl, "");
  PollAll();
  EXPECT_TRUE(peer_.ended());
  EXPECT_EQ(sink_.downs, 1);
}

struct BadFrame {
  const char* name;
  uint8_t kind;
  const char* body;
};

class BadFrames : public LocalTransportTest, public ::testing::WithParamInterface<BadFrame> {};

TEST_P(BadFrames, EndTheConnection) {
  Greet();
  const std::string body = GetParam().body;
  peer_.Send(static_cast<uint32_t>(body.size()), GetParam().kind, body);
  PollAll();
  EXPECT_TRUE(peer_.ended());
  EXPECT_EQ(sink_.downs, 1);
  EXPECT_TRUE(sink_.controls.empty());
}

INSTANTIATE_TEST_SUITE_P(
    All, BadFrames,
    ::testing::Values(BadFrame{"SecondGreeting", kGreeting, "again"},
                      BadFrame{"UnknownKind", 9, "what"}, BadFrame{"ShortSegment", kSegment, "x"},
                      BadFrame{"ShortEnd", kSegmentEnd, "x"},
                      BadFrame{"EndOfNothing", kSegmentEnd, "0123456789abcdef"}),
    [](const auto& info) { return info.param.name; });

TEST_F(LocalTransportTest, MessageBeforeTheGreetingEndsTheConnectionUnseen) {
  peer_.Send(2, kControl, "hi");
  PollAll();
  EXPECT_TRUE(peer_.ended());
  EXPECT_EQ(sink_.downs, 0);
}

TEST_F(LocalTransportTest, OldestThatHasNotGreetedGivesWayToThe65th) {
  Greet();
  std::vector<std::unique_ptr<RawPeer>> mute;
  for (int i = 0; i < 64; ++i) {
    mute.push_back(std::make_unique<RawPeer>(transport_->LocalAddress()));
    transport_->Poll(&sink_);
  }
  PollAll();
  EXPECT_FALSE(mute[0]->ended());
  mute.push_back(std::make_unique<RawPeer>(transport_->LocalAddress()));
  PollAll();
  EXPECT_TRUE(mute[0]->ended());
  EXPECT_FALSE(mute[1]->ended());
  EXPECT_FALSE(mute[64]->ended());
  EXPECT_FALSE(peer_.ended());  // the oldest of all, but greeted
  EXPECT_EQ(sink_.downs, 0);
}

TEST_F(LocalTransportTest, GreetingsAreHeardInAFloodOfThoseThatDoNotGreet) {
  std::vector<std::unique_ptr<RawPeer>> peers;
  const std::string greeting = Greeting("hello", kVersion);
  peer_.Send(greeting.size(), kGreeting, greeting);
  for (int i = 0; i < 100; ++i) {
    peers.push_back(std::make_unique<RawPeer>(transport_->LocalAddress()));
  }
  PollAll();
  EXPECT_NE(sink_.greeted, ConnId());
  EXPECT_FALSE(peer_.ended());
}

// While it lives this process gets no descriptor but those that it closes.
class NoDescriptorsLeft {
 public:
  NoDescriptorsLeft() {
    TANDEM_CHECK(getrlimit(RLIMIT_NOFILE, &before_) == 0);
    rlimit limit = before_;
    const int next = dup(STDIN_FILENO);
    TANDEM_CHECK(next >= 0);
    held_.push_back(next);
    limit.rlim_cur = next + 64;
    TANDEM_CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    for (int fd = dup(next); fd >= 0; fd = dup(next)) held_.push_back(fd);
  }
  ~NoDescriptorsLeft() {
    for (const int fd : held_) close(fd);
    TANDEM_CHECK(setrlimit(RLIMIT_NOFILE, &before_) == 0);
  }

 private:
  rlimit before_{};
  std::vector<int> held_;
};

TEST_F(LocalTransportTest, WithoutDescriptorsTheOldestThatHasNotGreetedGivesWay) {
  RawPeer second(transport_->LocalAddress());
  PollAll();
  RawPeer third(transport_->LocalAddress());
  const std::string greeting = Greeting("hello", kVersion);
  third.Send(greeting.size(), kGreeting, greeting);
  const NoDescriptorsLeft none;
  PollAll();
  EXPECT_TRUE(peer_.ended());
  EXPECT_FALSE(second.ended());
  EXPECT_NE(sink_.greeted, ConnId());
  EXPECT_TRUE(transport_->SendControl(sink_.greeted, "welcome").ok());
  EXPECT_EQ(third.Read(), RawFrame(7, kControl, "welcome"));
}

TEST_F(LocalTransportTest, WithoutDescriptorsGreetedOnesStayAndTheNextIsServedOnceThereAreSome) {
  Greet();
  const ConnId first = sink_.greeted;
  RawPeer second(transport_->LocalAddress());
  const std::string greeting = Greeting("hello", kVersion);
  second.Send(greeting.size(), kGreeting, greeting);
  auto none = std::make_unique<NoDescriptorsLeft>();
  PollAll();
  EXPECT_FALSE(peer_.ended());
  EXPECT_EQ(sink_.greeted, first);
  EXPECT_FALSE(transport_->Poll(&sink_));  // who knocks keeps nobody busy
  none.reset();                            // no connection closes
  pollfd work{.fd = transport_->EventFd(), .events = POLLIN, .revents = 0};
  for (int i = 0; i < 10 && sink_.greeted == first && poll(&work, 1, 10'000) > 0; ++i) PollAll();
  EXPECT_NE(sink_.greeted, first);
  EXPECT_FALSE(peer_.ended());
}

TEST_F(LocalTransportTest, PeerOfNoSuchNameIsUnavailable) {
  EXPECT_EQ(transport_->Connect("tandem-kv-none", "hello").status().code(),
            absl::StatusCode::kUnavailable);
}

TEST_F(LocalTransportTest, SegmentReadAfterThePeerHungUpIsNotTakenForGood) {
  std::vector<std::byte> memory(4096);
  Recorder sink(absl::MakeSpan(memory));
  const std::vector<std::byte> source(memory.size(), std::byte{7});
  {
    RawPeer leaves(transport_->LocalAddress());
    const std::string greeting = Greeting("hello", kVersion);
    leaves.Send(greeting.size(), kGreeting, greeting);
    leaves.Send(24, kSegment, Announcement(1, source.data(), source.size()));
    transport_->Poll(&sink);  // takes the connection in
  }
  for (int i = 0; i < 20; ++i) transport_->Poll(&sink);
  EXPECT_EQ(sink.received, std::vector<bool>{false});
  EXPECT_EQ(sink.downs, 1);
}

TEST_F(LocalTransportTest, PeerThatFloodsAndNeverReadsIsEnded) {
  Greet();
  // Each is refused with an answer that nobody reads.
  for (int i = 0; i < 2'000'000 && sink_.downs == 0; ++i) {
    peer_.Send(24, kSegment, Announcement(i, nullptr, 1));
    if (i % 100 == 0) PollAll();
    if (i % 100 == 0 && sink_.downs > 0) break;
  }
  EXPECT_EQ(sink_.downs, 1);
}

TEST_F(LocalTransportTest, PeerThatDoesNotReadIsCappedByAnError) {
  Greet();
  const std::string message(100'000, 'm');
  absl::Status status;
  for (int i = 0; i < 2000 && status.ok(); ++i) {
    status = transport_->SendControl(sink_.greeted, message);
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace tandem
