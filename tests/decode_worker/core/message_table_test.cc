// Every message that can reach a decode worker about one request, in every state of the request:
// the table of decode_request.h, cell by cell. Lost, late, repeated and overtaking messages are
// messages in another state than the one they were meant for.
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "tests/decode_worker/core/decode_rig.h"

namespace tandem {
namespace {

enum class State { kNone, kUnassigned, kAssigned, kOffered, kGranted, kSelf };
constexpr State kStates[] = {State::kNone,    State::kUnassigned, State::kAssigned,
                             State::kOffered, State::kGranted,    State::kSelf};
constexpr const char* kStateNames[] = {"none",    "unassigned", "assigned",
                                       "offered", "granted",    "self"};

constexpr uint32_t kPrompt = 70;  // four full blocks, then six tokens of its own
constexpr uint32_t kBlocks = 4;
constexpr uint32_t kPoolBlocks = 17;  // two others of six, and the five that this one books

// One request in the state asked for, current in epoch 2 and (if it has one) attempt 2.
class Situation {
 public:
  explicit Situation(State state) : rig_(kPoolBlocks) {
    if (state == State::kNone) return;
    Generate generate = rig_.NewGenerate(1, kPrompt, 3, Assignment(2));
    generate.epoch = 2;
    if (state == State::kSelf) generate.assignment.reset();
    if (state == State::kOffered) FillPool();
    rig_.Send(generate);
    if (state == State::kUnassigned) rig_.FromPeer(Abandon{Nonce{9, 2}, "test"});
    if (state == State::kOffered || state == State::kGranted) {
      rig_.FromPeer(Offer{Nonce{9, 2}, kDecodeLife, kBlocks});
    }
    if (state == State::kGranted) grant_ = *rig_.LastPeerMessage<Grant>();
  }

  static FillAssignment Assignment(uint32_t attempt) { return DecodeRig::Assignment(attempt); }

  // Delivers and says what came of it: what was sent, in order, then the state afterwards.
  std::string After(const std::function<void(DecodeRig&, GrantId)>& deliver) {
    rig_.Forget();
    const uint64_t stale = rig_.core_.counters().stale_messages;
    deliver(rig_, grant_.grant);
    std::vector<std::string> seen;
    if (rig_.core_.counters().stale_messages > stale) seen.push_back("stale");
    for (const auto& [session, message] : rig_.effects_.sends) {
      if (std::holds_alternative<Booked>(message)) seen.push_back("Booked");
      if (std::holds_alternative<Refused>(message)) seen.push_back("Refused");
      if (const auto* lost = std::get_if<FillLost>(&message)) {
        seen.push_back(lost->filling_itself ? "FillLost+self" : "FillLost");
      }
    }
    for (const TransferCommand& command : rig_.effects_.transfers) {
      if (std::holds_alternative<OpenLanding>(command)) seen.push_back("OpenLanding");
      if (std::holds_alternative<CloseLanding>(command)) seen.push_back("CloseLanding");
      const auto* peer = std::get_if<SendPeerMessage>(&command);
      if (peer == nullptr) continue;
      if (std::holds_alternative<Grant>(peer->message)) seen.push_back("Grant");
      if (std::holds_alternative<OfferRefused>(peer->message)) seen.push_back("OfferRefused");
      if (std::holds_alternative<Revoke>(peer->message)) seen.push_back("Revoke");
      if (std::holds_alternative<CommitAck>(peer->message)) seen.push_back("CommitAck");
    }
    rig_.cache_.pool().CheckConserved();
    return absl::StrJoin(seen, " ");
  }

 private:
  // Others run and hold what they booked: the room that is left to their growth makes an offer
  // wait.
  void FillPool() {
    rig_.Send(rig_.NewGenerate(2, 90, 6));
    rig_.Send(rig_.NewGenerate(3, 90, 6));
    while (rig_.cache_.pool().available() > kBlocks + 1) rig_.RunStep();
  }

  DecodeRig rig_;
  Grant grant_;
};

struct Row {
  const char* message;
  std::function<void(DecodeRig&, GrantId)> deliver;
  // By state: none, unassigned, assigned, offered, granted, self.
  std::array<const char*, 6> outcome;
  bool once = false;  // our own transfer engine never says it twice
};

Generate GenerateOf(DecodeRig& rig, uint32_t epoch) {
  Generate generate = rig.NewGenerate(1, kPrompt, 3, Situation::Assignment(9));
  generate.epoch = epoch;
  return generate;
}

void SendAssign(DecodeRig& rig, uint32_t epoch, std::optional<uint32_t> attempt) {
  Assign assign{.request = RequestId(1), .epoch = epoch};
  if (attempt) assign.assignment = Situation::Assignment(*attempt);
  rig.Send(assign);
}

const std::vector<Row>& Table() {
  static const auto* const table = new std::vector<Row>{
      {"Generate of the epoch it has",
       [](DecodeRig& rig, GrantId) { rig.Send(GenerateOf(rig, 2)); },
       {"Booked", "Refused", "Refused", "Refused", "Refused", "Refused"}},
      {"Generate of an older epoch",
       [](DecodeRig& rig, GrantId) { rig.Send(GenerateOf(rig, 1)); },
       {"Booked", "Refused", "Refused", "Refused", "Refused", "Refused"}},
      {"Generate of a newer epoch",
       [](DecodeRig& rig, GrantId) { rig.Send(GenerateOf(rig, 3)); },
       {"Booked", "Booked", "Booked", "Booked Revoke", "Booked Revoke CloseLanding", "Booked"}},
      {"Assign of a newer attempt",
       [](DecodeRig& rig, GrantId) { SendAssign(rig, 2, 3); },
       {"stale", "", "", "Revoke", "Revoke CloseLanding", "FillLost+self"}},
      {"Assign of the same attempt",
       [](DecodeRig& rig, GrantId) { SendAssign(rig, 2, 2); },
       {"stale", "stale", "stale", "stale", "stale", "FillLost+self"}},
      {"Assign to itself",
       [](DecodeRig& rig, GrantId) { SendAssign(rig, 2, std::nullopt); },
       {"stale", "", "", "Revoke", "Revoke CloseLanding", ""}},
      {"Assign of another epoch",
       [](DecodeRig& rig, GrantId) { SendAssign(rig, 1, 3); },
       {"stale", "stale", "stale", "stale", "stale", "stale"}},
      {"Cancel",
       [](DecodeRig& rig, GrantId) {
         rig.Send(Cancel{RequestId(1), 2});
       },
       {"", "", "", "Revoke", "Revoke CloseLanding", ""}},
      {"Cancel of another epoch",
       [](DecodeRig& rig, GrantId) {
         rig.Send(Cancel{RequestId(1), 1});
       },
       {"", "", "", "", "", ""}},
      {"Offer under the right nonce",
       [](DecodeRig& rig, GrantId) {
         rig.FromPeer(Offer{Nonce{9, 2}, kDecodeLife, kBlocks});
       },
       {"", "", "OpenLanding Grant", "", "Grant", ""}},
      {"Offer under an older nonce",
       [](DecodeRig& rig, GrantId) {
         rig.FromPeer(Offer{Nonce{9, 1}, kDecodeLife, kBlocks});
       },
       {"", "", "", "", "", ""}},
      {"Offer under a nonce that stays unknown",
       [](DecodeRig& rig, GrantId) {
         rig.FromPeer(Offer{Nonce{9, 1}, kDecodeLife, kBlocks});
         rig.Advance(EarlyOffers::kHoldLimit);
       },
       {"stale OfferRefused", "stale OfferRefused", "stale OfferRefused", "stale OfferRefused",
        "stale OfferRefused", "stale OfferRefused"}},
      {"Offer that overtook its Assign",
       [](DecodeRig& rig, GrantId) {
         rig.FromPeer(Offer{Nonce{9, 3}, kDecodeLife, kBlocks});
         SendAssign(rig, 2, 3);
       },
       {"stale", "OpenLanding Grant", "OpenLanding Grant", "Revoke",
        "Revoke CloseLanding OpenLanding Grant", "FillLost+self"}},
      {"Offer of another peer",
       [](DecodeRig& rig, GrantId) {
         rig.FromPeer(Offer{Nonce{9, 2}, kDecodeLife, kBlocks}, kOtherPrefillLife);
         rig.Advance(EarlyOffers::kHoldLimit);
       },
       {"stale OfferRefused", "stale OfferRefused", "stale OfferRefused", "stale OfferRefused",
        "stale OfferRefused", "stale OfferRefused"}},
      {"Offer for an earlier life",
       [](DecodeRig& rig, GrantId) {
         rig.FromPeer(Offer{Nonce{9, 2}, Incarnation(1), kBlocks});
       },
       {"stale OfferRefused", "stale OfferRefused", "stale OfferRefused", "stale OfferRefused",
        "stale OfferRefused", "stale OfferRefused"}},
      {"a chunk that was verified",
       [](DecodeRig& rig, GrantId grant) { rig.Land({.grant = grant}, 0, 2); },
       {"stale", "stale", "stale", "stale", "CommitAck", "stale"},
       /*once=*/true},
      {"a chunk that was rejected",
       [](DecodeRig& rig, GrantId grant) {
         rig.Deliver(TransferEvent(ChunkRejected{grant, 0, 2, {SegmentId{0, 0, 0, 2}}, "bits"}));
       },
       {"stale", "stale", "stale", "stale", "FillLost CommitAck Revoke CloseLanding", "stale"}},
      {"Abandon",
       [](DecodeRig& rig, GrantId) {
         rig.FromPeer(Abandon{Nonce{9, 2}, "test"});
       },
       {"stale", "stale", "FillLost", "FillLost Revoke", "FillLost Revoke CloseLanding", "stale"}},
      {"Abandon of another peer",
       [](DecodeRig& rig, GrantId) {
         rig.FromPeer(Abandon{Nonce{9, 2}, "test"}, kOtherPrefillLife);
       },
       {"stale", "stale", "stale", "stale", "stale", "stale"}},
      {"the end of the peer",
       [](DecodeRig& rig, GrantId) {
         rig.Deliver(TransferEvent(PeerDown{kPrefillLife, "test"}));
       },
       {"", "", "FillLost", "FillLost Revoke", "FillLost Revoke CloseLanding", ""}},
      {"the end of another peer",
       [](DecodeRig& rig, GrantId) {
         rig.Deliver(TransferEvent(PeerDown{kOtherPrefillLife, "test"}));
       },
       {"", "", "", "", "", ""}},
      {"no progress for the lease's time",
       [](DecodeRig& rig, GrantId) { rig.Advance(std::chrono::seconds(5)); },
       {"", "FillLost+self", "FillLost+self", "", "FillLost+self Revoke CloseLanding", ""}},
      {"the end of the session",
       [](DecodeRig& rig, GrantId) {
         rig.Deliver(SessionClosed{kRouter, "test"});
       },
       {"", "", "", "Revoke", "Revoke CloseLanding", ""}},
  };
  return *table;
}

TEST(DecodeMessageTable, EveryMessageInEveryStateHasItsOutcome) {
  for (const Row& row : Table()) {
    for (const State state : kStates) {
      const auto column = static_cast<size_t>(state);
      SCOPED_TRACE(std::string(row.message) + " in state " + kStateNames[column]);
      EXPECT_EQ(Situation(state).After(row.deliver), row.outcome[column]);
    }
  }
}

// The second one meets the state that the first one made.
TEST(DecodeMessageTable, EveryMessageMayComeTwice) {
  for (const Row& row : Table()) {
    if (row.once) continue;
    for (const State state : kStates) {
      SCOPED_TRACE(std::string(row.message) + " twice in state " +
                   kStateNames[static_cast<size_t>(state)]);
      Situation situation(state);
      situation.After(row.deliver);
      situation.After(row.deliver);  // no CHECK fails, and blocks are conserved
    }
  }
}

}  // namespace
}  // namespace tandem
