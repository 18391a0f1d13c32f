#include "common/transfer/fault/fault_transport.h"

#include <utility>

#include "absl/types/span.h"

namespace tandem {
namespace {

constexpr uint64_t kNextSend = ~uint64_t{0};  // a held one goes after the next, or in the next poll

}  // namespace

// Passes everything on, with the caller's tokens put back.
class FaultTransport::Relay : public TransportSink {
 public:
  Relay(FaultTransport* transport, TransportSink* sink) : transport_(transport), sink_(sink) {}

  void OnGreeting(ConnId conn, absl::string_view bytes) override { sink_->OnGreeting(conn, bytes); }
  void OnControl(ConnId conn, absl::string_view bytes) override { sink_->OnControl(conn, bytes); }
  std::optional<Placement> OnSegmentArriving(ConnId conn, absl::string_view header,
                                             size_t length) override {
    return sink_->OnSegmentArriving(conn, header, length);
  }
  void OnSegmentReceived(ConnId conn, SegmentToken token, bool ok,
                         absl::Span<const uint32_t> piece_crc32c) override {
    sink_->OnSegmentReceived(conn, token, ok, piece_crc32c);
  }
  void OnSegmentSent(ConnId conn, SegmentToken token, bool ok) override {
    const auto node = transport_->sent_.extract(token);
    if (node.mapped().told) sink_->OnSegmentSent(conn, node.mapped().token, ok);
  }
  void OnConnectionDown(ConnId conn, absl::string_view reason) override {
    transport_->Close(conn);  // ends what is held for it
    sink_->OnConnectionDown(conn, reason);
  }

 private:
  FaultTransport* const transport_;
  TransportSink* const sink_;
};

FaultTransport::FaultTransport(std::unique_ptr<KvTransport> inner, std::vector<FaultRule> rules,
                               uint64_t seed)
    : inner_(std::move(inner)), rules_(std::move(rules)), random_(seed) {}

FaultTransport::~FaultTransport() = default;

absl::StatusOr<ConnId> FaultTransport::Connect(absl::string_view peer_address,
                                               absl::string_view greeting) {
  return inner_->Connect(peer_address, greeting);
}

absl::Status FaultTransport::Accept(ConnId conn, absl::string_view reply_address) {
  return inner_->Accept(conn, reply_address);
}

const FaultRule* FaultTransport::PickFault(FaultRule::Target target) {
  const uint64_t n = target == FaultRule::Target::kSegment ? ++segments_ : ++controls_;
  for (const FaultRule& rule : rules_) {
    if (rule.target != target) continue;
    const bool hit = rule.nth > 0 ? rule.nth == n
                                  : std::uniform_real_distribution<>()(random_) < rule.probability;
    if (!hit) continue;
    ++faults_;
    return &rule;
  }
  return nullptr;
}

absl::Status FaultTransport::SendControl(ConnId conn, absl::string_view bytes) {
  Held held{conn, false, std::string(bytes), {}, {}, 0};
  const FaultRule* fault = PickFault(FaultRule::Target::kControl);
  if (fault != nullptr) return SendWithFault(std::move(held), fault->action, fault->polls);
  return Forward(held, nullptr, true);
}

absl::Status FaultTransport::SendSegment(ConnId conn, absl::string_view header,
                                         absl::Span<const std::byte> payload, SegmentToken token) {
  Held held{conn, true, std::string(header), payload, token, 0};
  const FaultRule* fault = PickFault(FaultRule::Target::kSegment);
  if (fault != nullptr) return SendWithFault(std::move(held), fault->action, fault->polls);
  return Forward(held, nullptr, true);
}

absl::Status FaultTransport::SendWithFault(Held held, FaultAction action, int polls) {
  switch (action) {
    case FaultAction::kFail:
      if (!held.segment) return absl::UnavailableError("fault: message not sent");
      ended_.push_back({held.conn, held.token});
      return absl::OkStatus();
    case FaultAction::kDrop:
      if (held.segment) dropped_.push_back(std::move(held));
      return absl::OkStatus();
    case FaultAction::kDelay:
      held.due_poll = polls_ + polls;
      held_.push_back(std::move(held));
      return absl::OkStatus();
    case FaultAction::kReorder:
      held.due_poll = kNextSend;
      held_.push_back(std::move(held));
      return absl::OkStatus();
    case FaultAction::kDuplicate: {
      const absl::Status first = Forward(held, nullptr, true);
      if (first.ok() && !held.segment) return Forward(held, nullptr, true);
      // The copy may outlive the caller's memory.
      if (first.ok()) {
        auto copy =
            std::make_shared<std::vector<std::byte>>(held.payload.begin(), held.payload.end());
        (void)Forward(held, std::move(copy), false);
      }
      return first;
    }
    case FaultAction::kFlipBit:
    case FaultAction::kFlipHeader:
    case FaultAction::kTruncate:
      if (held.segment && action != FaultAction::kFlipHeader)
        return Forward(held, Damage(held.payload, action), true);
      if (action == FaultAction::kTruncate) {
        held.bytes.pop_back();
      } else {
        held.bytes[random_() % held.bytes.size()] ^= static_cast<char>(1 << (random_() % 8));
      }
      return Forward(held, nullptr, true);
  }
  return absl::OkStatus();
}

std::shared_ptr<std::vector<std::byte>> FaultTransport::Damage(absl::Span<const std::byte> payload,
                                                               FaultAction action) {
  auto copy = std::make_shared<std::vector<std::byte>>(payload.begin(), payload.end());
  if (action == FaultAction::kTruncate) {
    copy->pop_back();
  } else {
    (*copy)[random_() % copy->size()] ^= static_cast<std::byte>(1 << (random_() % 8));
  }
  return copy;
}

absl::Status FaultTransport::Forward(const Held& held,
                                     std::shared_ptr<std::vector<std::byte>> damaged, bool told) {
  absl::Status status;
  if (held.segment) {
    const SegmentToken token(++last_token_);
    const auto payload = damaged != nullptr ? absl::MakeConstSpan(*damaged) : held.payload;
    sent_[token] = {held.token, damaged, told};
    status = inner_->SendSegment(held.conn, held.bytes, payload, token);
    if (!status.ok()) sent_.erase(token);
  } else {
    status = inner_->SendControl(held.conn, held.bytes);
  }
  for (Held& waiting : held_) {
    if (waiting.due_poll == kNextSend) waiting.due_poll = polls_;
  }
  return status;
}

void FaultTransport::ReleaseDue() {
  std::deque<Held> waiting;
  std::vector<Held> due;
  for (Held& held : std::exchange(held_, {})) {
    if (held.due_poll <= polls_ || held.due_poll == kNextSend) {
      due.push_back(std::move(held));
    } else {
      waiting.push_back(std::move(held));
    }
  }
  held_ = std::move(waiting);
  for (const Held& held : due) {
    if (!Forward(held, nullptr, true).ok() && held.segment)
      ended_.push_back({held.conn, held.token});
  }
}

void FaultTransport::Close(ConnId conn) {
  inner_->Close(conn);
  const auto end = [this, conn](const Held& held) {
    if (held.conn != conn) return false;
    if (held.segment) ended_.push_back({held.conn, held.token});
    return true;
  };
  std::erase_if(held_, end);
  std::erase_if(dropped_, end);
}

bool FaultTransport::Poll(TransportSink* sink) {
  if (stopped_) return false;
  ++polls_;
  ReleaseDue();
  bool moved = false;
  for (const Ended& ended : std::exchange(ended_, {})) {
    moved = true;
    sink->OnSegmentSent(ended.conn, ended.token, false);
  }
  Relay relay(this, sink);
  return inner_->Poll(&relay) || moved;
}

bool FaultTransport::Arm() { return held_.empty() && ended_.empty() && inner_->Arm(); }

}  // namespace tandem
