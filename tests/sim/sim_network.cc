#include "tests/sim/sim_network.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/strip.h"
#include "common/protocol/peer_wire.h"

namespace tandem::sim {
namespace {

constexpr absl::string_view kScheme = "sim:";
constexpr Duration kShortest = std::chrono::microseconds(20);
constexpr Duration kLongest = std::chrono::microseconds(400);

}  // namespace

std::string SimNetwork::AddressOf(HostId host) { return absl::StrCat(kScheme, host); }

void SimNetwork::Clog(HostId from, HostId to, Instant until) {
  Instant& clogged = clogged_[{from, to}];
  clogged = std::max(clogged, until);
}

void SimNetwork::CutBetween(HostId a, HostId b) {
  std::vector<ConnId> cut;
  for (const auto& [conn, end] : ends_) {
    const auto other = ends_.find(end.other);
    if (end.host == a && end.open && other != ends_.end() && other->second.host == b) {
      cut.push_back(conn);
    }
  }
  for (const ConnId conn : cut) {
    // Each side hears it for itself.
    NotifyOther(conn, "the connection was cut");
    NotifyOther(ends_.at(conn).other, "the connection was cut");
  }
}

void SimNetwork::DeliverLater(SimTransport* transport, Duration delay,
                              SimTransport::Delivery delivery) {
  queue_->After(delay, [weak = std::weak_ptr(transport->self_), delivery = std::move(delivery)] {
    if (const auto alive = weak.lock()) (*alive)->Deliver(delivery);
  });
}

void SimNetwork::Detach(SimTransport* transport) {
  hosts_.erase(transport->host_);
  std::vector<ConnId> mine;
  for (auto& [conn, end] : ends_) {
    if (end.transport == transport) mine.push_back(conn);
  }
  for (const ConnId conn : mine) {
    End& end = ends_.at(conn);
    if (end.open) NotifyOther(conn, "the peer died");
    end.open = false;
    end.transport = nullptr;
  }
  for (auto it = flights_.begin(); it != flights_.end();) {
    Flight& flight = it->second;
    const uint64_t id = it->first;
    ++it;
    if (flight.receiver == transport) {
      EndSend(&flight, false);
      flights_.erase(id);
      continue;
    }
    if (flight.sender == transport) {
      flight.sender = nullptr;
      if (flight.placement && flight.hangs) {
        queue_->After(Shortly(1000), [this, id] { EndReceive(id, false); });
      }
    }
  }
}

absl::StatusOr<ConnId> SimNetwork::Connect(SimTransport* from, absl::string_view address,
                                           absl::string_view greeting) {
  HostId host = 0;
  if (!absl::ConsumePrefix(&address, kScheme) || !absl::SimpleAtoi(address, &host)) {
    return absl::InvalidArgumentError("not an address of the simulation");
  }
  const ConnId ours(++last_id_);
  const ConnId theirs(++last_id_);
  ends_[ours] = {from->host_, from, theirs, true};
  ends_[theirs] = {host, nullptr, ours, true};
  queue_->After(Delay(theirs), [this, ours, theirs, host, bytes = std::string(greeting)] {
    if (!IsOpen(theirs)) return;
    // Whoever lives at the address by now.
    const auto there = hosts_.find(host);
    if (there == hosts_.end()) return NotifyOther(theirs, "nobody listens there");
    ends_.at(theirs).transport = there->second;
    there->second->Deliver([this, theirs, bytes](TransportSink* sink) {
      if (IsOpen(theirs)) sink->OnGreeting(theirs, bytes);
    });
  });
  return ours;
}

bool SimNetwork::IsOpen(ConnId conn) const {
  const auto end = ends_.find(conn);
  return end != ends_.end() && end->second.open;
}

absl::Status SimNetwork::SendControl(ConnId conn, absl::string_view bytes) {
  if (!IsOpen(conn)) return absl::UnavailableError("the connection is gone");
  const ConnId to = ends_.at(conn).other;
  if (random_->Chance(faults.replay)) ReplayControl(to, std::string(bytes));
  if (random_->Chance(faults.drop_control)) {
    log_->Note("net: dropped a message on connection ", conn.value());
    return absl::OkStatus();
  }
  std::string sent(bytes);
  if (random_->Chance(faults.truncate_control)) sent.resize(random_->Below(sent.size()));
  if (!sent.empty() && random_->Chance(faults.damage_control)) {
    sent[random_->Below(sent.size())] ^= static_cast<char>(1 << random_->Below(8));
    log_->Note("net: damages a message on connection ", conn.value());
  }
  DeliverControl(to, std::move(sent), Delay(to));
  return absl::OkStatus();
}

void SimNetwork::DeliverControl(ConnId to, std::string bytes, Duration delay) {
  queue_->After(delay, [this, to, bytes = std::move(bytes)] {
    if (!IsOpen(to) || ends_.at(to).transport == nullptr) return;
    ends_.at(to).transport->Deliver([this, to, bytes](TransportSink* sink) {
      if (!IsOpen(to)) return;
      if (log_->enabled()) {
        const absl::StatusOr<PeerMessage> message = DecodePeerMessage(bytes);
        log_->Note("net: host ", ends_.at(to).host, " hears ",
                   message.ok() ? PeerMessageName(*message) : "a damaged message",
                   " on connection ", to.value());
      }
      sink->OnControl(to, bytes);
    });
  });
}

void SimNetwork::ReplayControl(ConnId to, std::string bytes) {
  queue_->After(Shortly(3000), [this, to, bytes = std::move(bytes)]() mutable {
    const std::optional<ConnId> end = PickReplayEnd(to);
    if (!end) return;
    log_->Note("net: replays a message of connection ", to.value(), " on ", end->value());
    DeliverControl(*end, std::move(bytes), Duration{});
  });
}

// An open end at the same host: of the same peer, or of another one.
std::optional<ConnId> SimNetwork::PickReplayEnd(ConnId original_to) {
  const End& original = ends_.at(original_to);
  const HostId peer = ends_.at(original.other).host;
  const bool as_other = random_->Chance(faults.replay_as_other);
  std::vector<ConnId> ends;
  for (const auto& [conn, end] : ends_) {
    if (end.host != original.host || !end.open || end.transport == nullptr) continue;
    if ((ends_.at(end.other).host != peer) == as_other) ends.push_back(conn);
  }
  if (ends.empty()) return std::nullopt;
  return ends[random_->Below(ends.size())];
}

void SimNetwork::Close(ConnId conn) {
  const auto it = ends_.find(conn);
  if (it == ends_.end() || !it->second.open) return;
  it->second.open = false;
  EndFlightsOf(conn);
  NotifyOther(conn, "closed by the peer");
}

void SimNetwork::NotifyOther(ConnId conn, absl::string_view reason) {
  const ConnId other = ends_.at(conn).other;
  const End& end = ends_.at(other);
  if (!end.open) return;
  if (random_->Chance(faults.lost_notice)) {
    log_->Note("net: host ", end.host, " does not hear that connection ", other.value(), " ended");
    return;
  }
  const Duration delay = Shortly(800);
  if (end.transport == nullptr) {  // its greeting is still on the way
    queue_->After(delay, [this, other] {
      if (IsOpen(other)) ends_.at(other).open = false;
    });
    return;
  }
  DeliverLater(end.transport, delay, [this, other, why = std::string(reason)](TransportSink* sink) {
    if (!IsOpen(other)) return;
    ends_.at(other).open = false;
    EndFlightsOf(other);
    log_->Note("net: host ", ends_.at(other).host, " hears that connection ", other.value(),
               " is down: ", why);
    sink->OnConnectionDown(other, why);
  });
}

Duration SimNetwork::Delay(ConnId to) {
  const End& end = ends_.at(to);
  Duration delay = random_->Between(kShortest, kLongest);
  if (random_->Chance(faults.slow)) delay += random_->Between(Duration{}, faults.slowness);
  const auto clog = clogged_.find({ends_.at(end.other).host, end.host});
  if (clog == clogged_.end()) return delay;
  return std::max(delay, clog->second - queue_->now() + random_->Between(kShortest, kLongest));
}

Duration SimNetwork::Shortly(int64_t most_ms) {
  return random_->Between(kShortest, std::chrono::milliseconds(most_ms));
}

// ---- SimTransport ----

SimTransport::SimTransport(SimNetwork* network, HostId host, SimMemory* memory,
                           std::function<void()> wake)
    : network_(network), host_(host), memory_(memory), wake_(std::move(wake)) {
  network_->Attach(host_, this);
}

SimTransport::~SimTransport() { network_->Detach(this); }

absl::StatusOr<ConnId> SimTransport::Connect(absl::string_view peer_address,
                                             absl::string_view greeting) {
  return network_->Connect(this, peer_address, greeting);
}

absl::Status SimTransport::Accept(ConnId conn, absl::string_view) {
  return network_->IsOpen(conn) ? absl::OkStatus() : absl::UnavailableError("the peer is gone");
}

absl::Status SimTransport::SendControl(ConnId conn, absl::string_view bytes) {
  return network_->SendControl(conn, bytes);
}

absl::Status SimTransport::SendSegment(ConnId conn, absl::string_view header,
                                       absl::Span<const std::byte> payload, SegmentToken token) {
  return network_->SendSegment(conn, header, payload, token);
}

void SimTransport::Close(ConnId conn) { network_->Close(conn); }

void SimTransport::Deliver(Delivery delivery) {
  inbox_.push_back(std::move(delivery));
  wake_();
}

bool SimTransport::Poll(TransportSink* sink) {
  std::deque<Delivery> inbox = std::exchange(inbox_, {});
  for (const Delivery& delivery : inbox) delivery(sink);
  return !inbox.empty();
}

}  // namespace tandem::sim
