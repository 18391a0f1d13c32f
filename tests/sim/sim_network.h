// SimNetwork: the wires between workers, and SimTransport, a KvTransport on them. Control messages
// and segments travel separately, each with its own delay, so they overtake each other.
//
// What it does to them, by seeded chance: drops (a message vanishes; a segment stays in flight
// until its connection ends), damages both (bits turned over, the end missing, a segment's header
// that names another place), replays old messages and segments later, on the same connection or as
// another peer, cuts connections, and clogs directions between two hosts.
//
// A segment's memory is written when its bytes arrive and may still be written long after either
// side has closed: that is what quarantine is for.
//
// Owned by the cluster. Every sink call happens inside SimTransport::Poll.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/transfer/kv_transport.h"
#include "tests/sim/event_log.h"
#include "tests/sim/event_queue.h"
#include "tests/sim/oracle.h"
#include "tests/sim/random.h"
#include "tests/sim/sim_memory.h"

namespace tandem::sim {

using HostId = uint32_t;

// Probabilities are per message or segment. All zero: a fast and faithful network.
struct NetworkFaults {
  double drop_control = 0;
  double truncate_control = 0;
  double damage_control = 0;
  double drop_segment = 0;
  double hang_segment = 0;  // received into posted memory, but never to the end
  double damage_payload = 0;
  double damage_header = 0;
  double misaddress = 0;  // a whole header that names other memory than the sender meant
  double truncate_segment = 0;
  double slow = 0;  // takes up to `slowness` more
  Duration slowness{};
  double replay = 0;
  double replay_as_other = 0;  // of the replays: from another peer's connection
  double lost_notice = 0;      // the other end does not hear that a connection ended
  Duration late_write{};       // at most this long after a close, posted memory is written
};

class SimTransport;

class SimNetwork {
 public:
  SimNetwork(EventQueue* queue, EventLog* log, Oracle* oracle, Random* random)
      : queue_(queue), log_(log), oracle_(oracle), random_(random) {}

  NetworkFaults faults;

  static std::string AddressOf(HostId host);

  // Nothing arrives from `from` at `to` before `until`.
  void Clog(HostId from, HostId to, Instant until);
  // Ends the connections between two hosts, as a failing switch would.
  void CutBetween(HostId a, HostId b);

 private:
  friend class SimTransport;

  // One end of a connection.
  struct End {
    HostId host = 0;
    SimTransport* transport = nullptr;  // null: not there, or its process has died
    ConnId other;
    bool open = true;
  };

  // A segment on its way.
  struct Flight {
    ConnId from;  // the connection's two ends
    ConnId to;
    SimTransport* sender = nullptr;  // until the send is told to be over; null for a replay
    SegmentToken send_token;
    absl::Span<const std::byte> payload;  // the sender's memory
    std::vector<std::byte> copy;          // of a replayed or damaged segment
    bool use_copy = false;
    std::string header;
    std::optional<Placement> placement;
    SimTransport* receiver = nullptr;  // while posted
    bool hangs = false;
    bool late = false;  // its connection has ended since it was posted
  };

  void Attach(HostId host, SimTransport* transport) { hosts_[host] = transport; }
  void Detach(SimTransport* transport);
  // Puts the delivery into the transport's inbox later, if it still lives then.
  void DeliverLater(SimTransport* transport, Duration delay,
                    std::function<void(TransportSink*)> delivery);

  absl::StatusOr<ConnId> Connect(SimTransport* from, absl::string_view address,
                                 absl::string_view greeting);
  absl::Status SendControl(ConnId conn, absl::string_view bytes);
  absl::Status SendSegment(ConnId conn, absl::string_view header,
                           absl::Span<const std::byte> payload, SegmentToken token);
  void Close(ConnId conn);
  bool IsOpen(ConnId conn) const;

  void DeliverControl(ConnId to, std::string bytes, Duration delay);
  void ReplayControl(ConnId to, std::string bytes);

  // Segments (sim_segments.cc): arrive (the receiver names memory), complete (memory is written),
  // end (both are told).
  void Launch(Flight flight);
  void Damage(Flight* flight);
  std::string Misaddress(const std::string& header);
  void Replay(const Flight& flight);
  void Arrive(uint64_t id, TransportSink* sink);
  void Complete(uint64_t id);
  void EndSend(Flight* flight, bool ok);
  void EndReceive(uint64_t id, bool ok);
  void WriteBytes(const Flight& flight);
  void WriteGarbage(const Flight& flight);
  void EndFlightsOf(ConnId conn);

  // The connection's end `conn` was ended by its own side or by its death: the other end hears it.
  void NotifyOther(ConnId conn, absl::string_view reason);
  Duration Delay(ConnId to);
  Duration Shortly(int64_t most_ms);
  std::optional<ConnId> PickReplayEnd(ConnId original_to);

  EventQueue* const queue_;
  EventLog* const log_;
  Oracle* const oracle_;
  Random* const random_;
  std::map<HostId, SimTransport*> hosts_;
  std::map<ConnId, End> ends_;
  std::map<uint64_t, Flight> flights_;
  std::map<std::pair<HostId, HostId>, Instant> clogged_;
  uint64_t last_id_ = 0;
};

// One life of a worker's place on the network. Deliveries wait in its inbox until Poll.
class SimTransport final : public KvTransport {
 public:
  // `wake` is called when the inbox gets something.
  SimTransport(SimNetwork* network, HostId host, SimMemory* memory, std::function<void()> wake);
  // Like the death of the process.
  ~SimTransport() override;

  std::string LocalAddress() const override { return SimNetwork::AddressOf(host_); }
  absl::StatusOr<ConnId> Connect(absl::string_view peer_address,
                                 absl::string_view greeting) override;
  absl::Status Accept(ConnId conn, absl::string_view reply_address) override;
  absl::Status SendControl(ConnId conn, absl::string_view bytes) override;
  absl::Status SendSegment(ConnId conn, absl::string_view header,
                           absl::Span<const std::byte> payload, SegmentToken token) override;
  void Close(ConnId conn) override;
  bool Poll(TransportSink* sink) override;
  int EventFd() const override { return -1; }
  bool Arm() override { return inbox_.empty(); }
  std::string Describe() const override { return "sim"; }
  std::string DescribeLanes(ConnId) const override { return "sim/memory"; }

 private:
  friend class SimNetwork;
  using Delivery = std::function<void(TransportSink*)>;

  void Deliver(Delivery delivery);

  SimNetwork* const network_;
  const HostId host_;
  SimMemory* const memory_;
  const std::function<void()> wake_;
  std::deque<Delivery> inbox_;
  std::shared_ptr<SimTransport*> self_ = std::make_shared<SimTransport*>(this);
};

}  // namespace tandem::sim
