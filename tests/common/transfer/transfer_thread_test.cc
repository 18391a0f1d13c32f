#include "common/transfer/transfer_thread.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <time.h>

#include "common/transfer/fault/fault_transport.h"
#include "common/transfer/loopback/loopback_transport.h"
#include "tests/common/transfer/engine_node.h"

namespace tandem {
namespace {

// A transfer thread, its memory, and the events it has given so far.
class Side {
 public:
  Side(std::unique_ptr<KvTransport> transport, uint64_t incarnation)
      : memory(kTestLayers, kTestBlocks, 12288), id(incarnation), events_(1) {
    memory.Fill(incarnation);
    TransferThreadOptions options;
    options.engine = TestOptions(incarnation);
    thread =
        std::make_unique<TransferThread>(std::move(transport), memory.View(), std::move(options),
                                         [this](std::vector<TransferEvent> events) {
                                           for (TransferEvent& event : events)
                                             events_.PushReserved(std::move(event));
                                         });
  }

  // Waits for the next event of this type; earlier ones of other types are dropped.
  template <class Event>
  std::optional<Event> Await() {
    const Instant deadline = SystemClock().Now() + std::chrono::seconds(20);
    for (;;) {
      while (!seen_.empty()) {
        const TransferEvent event = std::move(seen_.front());
        seen_.pop_front();
        if (const Event* e = std::get_if<Event>(&event)) return *e;
      }
      for (TransferEvent& event : events_.PopAll(deadline)) seen_.push_back(std::move(event));
      if (seen_.empty()) return std::nullopt;
    }
  }

  TestMemory memory;
  const Incarnation id;

 private:
  BoundedQueue<TransferEvent> events_;
  std::deque<TransferEvent> seen_;

 public:
  std::unique_ptr<TransferThread> thread;  // last: it delivers until it is gone
};

class TransferThreadTest : public ::testing::Test {
 protected:
  TransferThreadTest()
      : hub_(std::make_shared<LoopbackHub>()),
        a_(std::make_unique<LoopbackTransport>(hub_), 101),
        b_(std::make_unique<LoopbackTransport>(hub_), 202) {}

  void Connect() {
    ASSERT_TRUE(a_.thread->TrySubmit(ConnectPeer{b_.id, b_.thread->address()}));
    ASSERT_TRUE(a_.Await<PeerUp>().has_value());
    ASSERT_TRUE(b_.Await<PeerUp>().has_value());
  }

  std::shared_ptr<LoopbackHub> hub_;
  Side a_;
  Side b_;
};

TEST_F(TransferThreadTest, PushesBetweenTwoThreads) {
  Connect();
  uint64_t push = 0;
  for (uint64_t grant = 1; grant <= 50; ++grant) {
    b_.thread->SubmitReserved(OpenLanding{GrantId(grant), a_.id, 0, {BlockId(3), BlockId(4)}});
    b_.thread->SubmitReserved(
        SendPeerMessage{a_.id, Grant{Nonce{1, grant}, GrantId(grant), 0, {2}}});
    const auto granted = a_.Await<PeerMessageReceived>();
    ASSERT_TRUE(granted.has_value());
    std::vector<SegmentId> segments;
    for (uint16_t layer = 0; layer < kTestLayers; ++layer) {
      segments.push_back({0, layer, 0, 2});
      ASSERT_TRUE(a_.thread->TrySubmit(
          PushSegment{PushId(++push), b_.id, GrantId(grant), segments.back(), BlockId(7)}));
    }
    a_.thread->SubmitReserved(SendPeerMessage{b_.id, Commit{GrantId(grant), 0, 2, segments}});
    ASSERT_TRUE(b_.Await<ChunkVerified>().has_value());
    EXPECT_EQ(b_.memory.Block(1, BlockId(4)), a_.memory.Block(1, BlockId(8)));
    b_.thread->SubmitReserved(CloseLanding{GrantId(grant)});
    ASSERT_TRUE(b_.Await<Quiesced>().has_value());
  }
  EXPECT_TRUE(a_.thread->Shutdown());
  EXPECT_TRUE(b_.thread->Shutdown());
  EXPECT_EQ(b_.thread->counters().chunks_verified, 50u);
}

TEST_F(TransferThreadTest, ShutdownTellsThePeerAndRefusesNewWork) {
  Connect();
  EXPECT_TRUE(b_.thread->Shutdown());
  EXPECT_TRUE(a_.Await<PeerDown>().has_value());
  EXPECT_FALSE(b_.thread->TrySubmit(CloseLanding{GrantId(1)}));
}

TEST_F(TransferThreadTest, SegmentsThatNeverEndAreAdmittedAtShutdown) {
  // The inner transport is polled no more, so the push never becomes terminal.
  auto fault = std::make_unique<FaultTransport>(std::make_unique<LoopbackTransport>(hub_),
                                                std::vector<FaultRule>{}, 1);
  FaultTransport* stoppable = fault.get();
  EngineNode stuck(std::move(fault), TestOptions(303));
  stuck.Do(ConnectPeer{b_.id, b_.thread->address()});
  while (stuck.Events<PeerUp>().empty()) stuck.Poll();
  stoppable->set_stopped(true);
  stuck.Do(PushSegment{PushId(1), b_.id, GrantId(1), {0, 0, 0, 1}, BlockId(0)});
  stuck.engine().EndAllPeers("shutting down");
  stuck.Poll();
  EXPECT_EQ(stuck.engine().num_in_flight(), 1u);
  EXPECT_EQ(stuck.engine().counters().in_flight_of_ended_peers, 1u);
}

TEST_F(TransferThreadTest, IdleThreadsSleep) {
  Connect();
  const auto cpu_seconds = [] {
    timespec t{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
  };
  BoundedQueue<int> nothing(1);
  const double before = cpu_seconds();
  (void)nothing.PopAll(SystemClock().Now() + std::chrono::milliseconds(500));
  EXPECT_LT(cpu_seconds() - before, 0.05);
}

}  // namespace
}  // namespace tandem
