// A transfer engine with its transport, its memory and the events it has given: one side of a
// transfer test.
#pragma once

#include <poll.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/base/clock.h"
#include "common/transfer/transfer_engine.h"
#include "tests/common/transfer/test_memory.h"

namespace tandem {

inline constexpr uint32_t kTestLayers = 3;
inline constexpr uint32_t kTestBlocks = 32;

inline KvTerms TestTerms() {
  KvTerms terms;
  terms.model_fingerprint = "model-a";
  terms.numeric_profile = "cpu-f16";
  terms.num_layers = kTestLayers;
  terms.num_kv_heads = 3;
  terms.head_dim = 64;
  terms.kv_type = "f16";
  terms.layout = "layer,block,kv,head,token,dim";
  return terms;
}

inline TransferEngineOptions TestOptions(uint64_t incarnation) {
  TransferEngineOptions options;
  options.handshake.incarnation = Incarnation(incarnation);
  options.handshake.kv = TestTerms();
  return options;
}

class EngineNode {
 public:
  EngineNode(std::unique_ptr<KvTransport> transport, TransferEngineOptions options,
             size_t block_bytes = 12288)
      : memory(kTestLayers, kTestBlocks, block_bytes), transport_(std::move(transport)) {
    id = options.handshake.incarnation;
    options.log = [this](absl::string_view line) { log.emplace_back(line); };
    memory.Fill(id.value());
    engine_ = std::make_unique<TransferEngine>(transport_.get(), memory.View(), std::move(options));
  }

  KvTransport& transport() { return *transport_; }
  TransferEngine& engine() { return *engine_; }
  std::string address() const { return transport_->LocalAddress(); }

  void Do(TransferCommand command, Instant now = SystemClock().Now()) {
    engine_->Handle(std::move(command), now);
    Collect();
  }
  bool Poll(Instant now = SystemClock().Now()) {
    const bool moved = engine_->Poll(now);
    Collect();
    return moved;
  }
  // Polls; once nothing has moved for a while it sleeps, as the transfer thread does, until the
  // transport has work, a millisecond at most.
  void PollOrSleep() {
    constexpr Duration kSpin = std::chrono::microseconds(20);
    const Instant now = SystemClock().Now();
    if (Poll(now) || !events.empty()) {
      idle_since_ = kNever;
    } else if (idle_since_ == kNever) {
      idle_since_ = now;
    } else if (now - idle_since_ >= kSpin && transport_->Arm()) {
      pollfd fd{transport_->EventFd(), POLLIN, 0};
      poll(&fd, 1, 1);
    }
  }
  // Like the death of the process: nothing is told or awaited.
  void Destroy() {
    engine_.reset();
    transport_.reset();
  }

  template <class Event>
  std::vector<Event> Events() const {
    std::vector<Event> found;
    for (const TransferEvent& event : events) {
      if (const Event* e = std::get_if<Event>(&event)) found.push_back(*e);
    }
    return found;
  }
  // Messages of one kind that the peer has sent.
  template <class Message>
  std::vector<Message> Messages() const {
    std::vector<Message> found;
    for (const PeerMessageReceived& event : Events<PeerMessageReceived>()) {
      if (const Message* m = std::get_if<Message>(&event.message)) found.push_back(*m);
    }
    return found;
  }

  Incarnation id;
  TestMemory memory;
  std::vector<TransferEvent> events;
  std::vector<std::string> log;

 private:
  void Collect() {
    for (TransferEvent& event : engine_->TakeEvents()) events.push_back(std::move(event));
  }

  Instant idle_since_ = kNever;
  std::unique_ptr<KvTransport> transport_;
  std::unique_ptr<TransferEngine> engine_;
};

// Polls both until `done` or the limit; true when done.
inline bool RunUntil(EngineNode& a, EngineNode& b, const std::function<bool()>& done,
                     Duration limit = std::chrono::seconds(20)) {
  const Instant deadline = SystemClock().Now() + limit;
  while (!done()) {
    if (SystemClock().Now() > deadline) return false;
    a.Poll();
    b.Poll();
  }
  return true;
}

}  // namespace tandem
