// FaultTransport breaks another transport on purpose: what is sent through it is dropped, delayed,
// doubled, reordered or damaged by seeded rules. For tests and fault drills; deterministic given
// the same calls.
//
// It stands at the sender: arrivals pass untouched. Its promises are a KvTransport's still: each
// segment accepted ends in one OnSegmentSent, though perhaps only after Close.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "common/transfer/kv_transport.h"

namespace tandem {

enum class FaultAction : uint8_t {
  kFail,        // segments: reported as not sent. Messages: the call fails
  kDrop,        // vanishes; a segment stays in flight until its connection ends
  kDelay,       // sent `polls` polls later
  kDuplicate,   // sent twice
  kReorder,     // sent after the next one (or the next poll without one)
  kFlipBit,     // one bit of the payload or message is turned over
  kFlipHeader,  // one bit of a segment's header is turned over; of a message: as kFlipBit
  kTruncate,    // the last byte is missing
};

struct FaultRule {
  enum class Target : uint8_t { kControl, kSegment };
  Target target = Target::kSegment;
  FaultAction action = FaultAction::kFail;
  // Applies to the nth one sent (from 1), or with nth == 0 to each one with `probability`.
  uint64_t nth = 0;
  double probability = 0;
  int polls = 10;  // of kDelay
};

class FaultTransport : public KvTransport {
 public:
  FaultTransport(std::unique_ptr<KvTransport> inner, std::vector<FaultRule> rules, uint64_t seed);
  ~FaultTransport() override;

  // While stopped nothing moves either way, as in a stopped process.
  void set_stopped(bool stopped) { stopped_ = stopped; }
  uint64_t faults_injected() const { return faults_; }

  void ShareMemory(const SharedRegion& region) override { inner_->ShareMemory(region); }
  std::string LocalAddress() const override { return inner_->LocalAddress(); }
  absl::StatusOr<ConnId> Connect(absl::string_view peer_address,
                                 absl::string_view greeting) override;
  absl::Status Accept(ConnId conn, absl::string_view reply_address) override;
  absl::Status SendControl(ConnId conn, absl::string_view bytes) override;
  absl::Status SendSegment(ConnId conn, absl::string_view header,
                           absl::Span<const std::byte> payload, SegmentToken token) override;
  void Close(ConnId conn) override;
  bool Poll(TransportSink* sink) override;
  int EventFd() const override { return inner_->EventFd(); }
  bool Arm() override;
  std::string Describe() const override { return "fault over " + inner_->Describe(); }
  std::string DescribeLanes(ConnId conn) const override { return inner_->DescribeLanes(conn); }

 private:
  class Relay;

  // Something that is sent later. Control messages have no token.
  struct Held {
    ConnId conn;
    bool segment = false;
    std::string bytes;  // message or header
    absl::Span<const std::byte> payload;
    SegmentToken token;
    uint64_t due_poll = 0;
  };
  // A segment in flight inside; its token there is ours, as one may be sent twice.
  struct Sent {
    SegmentToken token;
    std::shared_ptr<std::vector<std::byte>> damaged;  // a changed copy of the payload
    bool told = true;                                 // false: a duplicate, its end is not told
  };
  struct Ended {
    ConnId conn;
    SegmentToken token;
  };

  const FaultRule* PickFault(FaultRule::Target target);
  absl::Status Forward(const Held& held, std::shared_ptr<std::vector<std::byte>> damaged,
                       bool told);
  absl::Status SendWithFault(Held held, FaultAction action, int polls);
  std::shared_ptr<std::vector<std::byte>> Damage(absl::Span<const std::byte> payload,
                                                 FaultAction action);
  void ReleaseDue();

  const std::unique_ptr<KvTransport> inner_;
  const std::vector<FaultRule> rules_;
  std::mt19937_64 random_;
  bool stopped_ = false;
  uint64_t polls_ = 0;
  uint64_t faults_ = 0;
  uint64_t controls_ = 0;
  uint64_t segments_ = 0;
  uint64_t last_token_ = 0;
  std::deque<Held> held_;      // delayed and reordered
  std::vector<Held> dropped_;  // segments in flight for ever
  std::vector<Ended> ended_;   // to be told as not sent
  absl::flat_hash_map<SegmentToken, Sent> sent_;
};

}  // namespace tandem
