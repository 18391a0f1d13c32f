// The way of a segment through SimNetwork. See sim_network.h.
#include <algorithm>
#include <cstring>

#include "common/protocol/peer_wire.h"
#include "tests/sim/sim_network.h"

namespace tandem::sim {
namespace {

constexpr Duration kShortestCopy = std::chrono::microseconds(20);
constexpr Duration kLongestCopy = std::chrono::microseconds(1500);

}  // namespace

absl::Status SimNetwork::SendSegment(ConnId conn, absl::string_view header,
                                     absl::Span<const std::byte> payload, SegmentToken token) {
  if (!IsOpen(conn)) return absl::UnavailableError("the connection is gone");
  Flight flight;
  flight.from = conn;
  flight.to = ends_.at(conn).other;
  flight.sender = ends_.at(conn).transport;
  flight.send_token = token;
  flight.payload = payload;
  flight.header = std::string(header);
  if (random_->Chance(faults.replay)) Replay(flight);
  Damage(&flight);
  Launch(std::move(flight));
  return absl::OkStatus();
}

void SimNetwork::Launch(Flight flight) {
  const uint64_t id = ++last_id_;
  const ConnId to = flight.to;
  flights_[id] = std::move(flight);
  if (random_->Chance(faults.drop_segment)) {
    log_->Note("net: dropped segment ", id);
    return;  // in flight until its connection ends
  }
  queue_->After(Delay(to), [this, id, to] {
    if (!flights_.contains(id)) return;
    if (!IsOpen(to) || ends_.at(to).transport == nullptr) return;  // the sender hears it by Close
    ends_.at(to).transport->Deliver([this, id](TransportSink* sink) { Arrive(id, sink); });
  });
}

void SimNetwork::Damage(Flight* flight) {
  flight->hangs = random_->Chance(faults.hang_segment);
  if (random_->Chance(faults.damage_header)) {
    flight->header[random_->Below(flight->header.size())] ^=
        static_cast<char>(1 << random_->Below(8));
  }
  if (random_->Chance(faults.misaddress)) flight->header = Misaddress(flight->header);
  const bool damaged = random_->Chance(faults.damage_payload);
  const bool truncated = random_->Chance(faults.truncate_segment);
  if (!damaged && !truncated) return;
  flight->copy.assign(flight->payload.begin(), flight->payload.end());
  flight->use_copy = true;
  if (damaged) {
    flight->copy[random_->Below(flight->copy.size())] ^=
        static_cast<std::byte>(1 << random_->Below(8));
  }
  if (truncated) flight->copy.resize(random_->Below(flight->copy.size()));
  log_->Note("net: damaged a segment on connection ", flight->from.value());
}

// A header that is well formed and names other blocks, another layer or another grant.
std::string SimNetwork::Misaddress(const std::string& bytes) {
  SegmentHeader header = DecodeSegmentHeader(bytes).value_or(SegmentHeader{});
  if (header.segment.num_blocks == 0) return bytes;
  const auto flip = [this](auto value) {
    return static_cast<decltype(value)>(value ^ (decltype(value){1} << random_->Below(3)));
  };
  switch (random_->Below(3)) {
    case 0:
      header.segment.first_block = flip(header.segment.first_block);
      break;
    case 1:
      header.segment.layer = flip(header.segment.layer);
      break;
    case 2:
      header.grant = GrantId(flip(header.grant.value()));
      break;
  }
  log_->Note("net: misaddresses a segment");
  return EncodeSegmentHeader(header);
}

// The same bytes once more, later, from memory that the sender knows nothing of.
void SimNetwork::Replay(const Flight& flight) {
  Flight again;
  again.header = flight.header;
  again.copy.assign(flight.payload.begin(), flight.payload.end());
  again.use_copy = true;
  queue_->After(Shortly(3000), [this, again = std::move(again), to = flight.to]() mutable {
    const std::optional<ConnId> end = PickReplayEnd(to);
    if (!end) return;
    log_->Note("net: replays a segment of connection ", to.value(), " on ", end->value());
    again.to = *end;
    again.from = ends_.at(*end).other;
    Launch(std::move(again));
  });
}

void SimNetwork::Arrive(uint64_t id, TransportSink* sink) {
  const auto it = flights_.find(id);
  if (it == flights_.end()) return;
  Flight& flight = it->second;
  const bool there = flight.use_copy || flight.sender != nullptr;
  if (!there || !IsOpen(flight.to)) {
    EndSend(&flight, false);
    flights_.erase(it);
    return;
  }
  const size_t length = flight.use_copy ? flight.copy.size() : flight.payload.size();
  flight.placement = sink->OnSegmentArriving(flight.to, flight.header, length);
  if (!flight.placement) {
    log_->Note("net: segment ", id, " refused by host ", ends_.at(flight.to).host);
    EndSend(&flight, false);
    flights_.erase(it);
    return;
  }
  flight.receiver = ends_.at(flight.to).transport;
  if (flight.hangs) return;
  queue_->After(random_->Between(kShortestCopy, kLongestCopy), [this, id] { Complete(id); });
}

void SimNetwork::Complete(uint64_t id) {
  const auto it = flights_.find(id);
  if (it == flights_.end()) return;
  Flight& flight = it->second;
  const End& from = ends_.at(flight.from);
  const auto clog = clogged_.find({from.host, ends_.at(flight.to).host});
  if (clog != clogged_.end() && clog->second > queue_->now()) {
    return queue_->At(clog->second, [this, id] { Complete(id); });
  }
  const bool ended = !from.open || !IsOpen(flight.to);
  if (ended && !flight.late) {
    flight.late = true;
    return queue_->After(random_->Between(Duration{}, faults.late_write),
                         [this, id] { Complete(id); });
  }
  if (!flight.use_copy && flight.sender == nullptr) return EndReceive(id, false);
  WriteBytes(flight);
  EndSend(&flight, true);
  EndReceive(id, true);
}

void SimNetwork::WriteBytes(const Flight& flight) {
  const absl::Span<std::byte> memory = flight.placement->memory;
  flight.receiver->memory_->RequireLanding(memory);
  if (flight.use_copy) {
    std::memcpy(memory.data(), flight.copy.data(), memory.size());
    return;
  }
  flight.sender->memory_->RequireSource(flight.payload);
  std::memcpy(memory.data(), flight.payload.data(), memory.size());
}

void SimNetwork::WriteGarbage(const Flight& flight) {
  const absl::Span<std::byte> memory = flight.placement->memory;
  flight.receiver->memory_->RequireLanding(memory);
  for (size_t i = 0, n = random_->Below(memory.size() + 1); i < n; ++i) {
    memory[i] = static_cast<std::byte>(random_->Next());
  }
}

// From here on the sender's memory is not read any more.
void SimNetwork::EndSend(Flight* flight, bool ok) {
  if (flight->sender == nullptr) return;
  DeliverLater(flight->sender, Shortly(1),
               [conn = flight->from, token = flight->send_token, ok](TransportSink* sink) {
                 sink->OnSegmentSent(conn, token, ok);
               });
  flight->sender = nullptr;
}

// The posted memory is written a last time, then its owner hears that it is over.
void SimNetwork::EndReceive(uint64_t id, bool ok) {
  const auto it = flights_.find(id);
  if (it == flights_.end()) return;
  Flight& flight = it->second;
  if (!ok) WriteGarbage(flight);
  EndSend(&flight, false);
  DeliverLater(flight.receiver, Shortly(1),
               [conn = flight.to, token = flight.placement->token, ok](TransportSink* sink) {
                 sink->OnSegmentReceived(conn, token, ok, {});
               });
  flights_.erase(it);
}

// One side has closed. Its sends end soon; what is posted at a receiver ends too, but late.
void SimNetwork::EndFlightsOf(ConnId conn) {
  for (auto it = flights_.begin(); it != flights_.end();) {
    const uint64_t id = it->first;
    Flight& flight = it->second;
    ++it;
    if (flight.from != conn && flight.to != conn) continue;
    if (flight.placement && flight.hangs && !flight.late) {
      flight.late = true;
      queue_->After(random_->Between(Duration{}, faults.late_write),
                    [this, id] { EndReceive(id, false); });
    }
    if (flight.from != conn) continue;
    // The sender's memory may be read a little longer.
    queue_->After(Shortly(200), [this, id] {
      const auto found = flights_.find(id);
      if (found == flights_.end()) return;
      EndSend(&found->second, false);
      if (!found->second.placement) flights_.erase(found);
    });
  }
}

}  // namespace tandem::sim
