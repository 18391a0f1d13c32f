// Every message that can reach a prefill worker about one job, in every state of the job: the table
// of prefill_job.h, cell by cell. Lost, late, repeated and overtaking messages are messages in
// another state than the one they were meant for.
#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "prefill_worker/core/prefill_core.h"

namespace tandem {
namespace {

enum class State { kNone, kQueued, kOffered, kGranted };
constexpr State kStates[] = {State::kNone, State::kQueued, State::kOffered, State::kGranted};
constexpr const char* kStateNames[] = {"none", "queued", "offered", "granted"};

constexpr SessionId kRouter{1};
constexpr Incarnation kDecode{7};
constexpr Incarnation kOtherDecode{8};
constexpr Nonce kNonce{3, 4};
constexpr GrantId kGrant{5};
constexpr uint32_t kLayers = 2;
constexpr uint32_t kBlocks = 4;  // of the job, in two chunks

// One job in the state asked for. Granted: its first chunk is computed, pushed and committed.
class Situation {
 public:
  explicit Situation(State state) {
    Deliver(SessionOpened{kRouter});
    if (state == State::kNone) return;
    // One job may run: another one before it keeps it in the queue.
    if (state == State::kQueued) SubmitJob(2, Nonce{8, 8}, kOtherDecode);
    SubmitJob(1, kNonce, kDecode);
    if (state != State::kGranted) return;
    FromPeer(Grant{kNonce, kGrant, 0, {kBlocks}});
    const StepId step = effects_.steps.front().id;
    for (uint32_t layer = 0; layer < kLayers; ++layer) {
      Deliver(RunnerEvent(LayerDone{step, layer}));
    }
    Deliver(RunnerEvent(StepDone{.step = step}));
  }

  void Deliver(WorkerEvent event) {
    core_.Handle(std::move(event), now_, &effects_);
    core_.Advance(now_, Duration{}, &effects_);
  }
  void FromPeer(PeerMessage message, Incarnation peer = kDecode) {
    Deliver(TransferEvent(PeerMessageReceived{peer, std::move(message)}));
  }
  void Send(RouterToWorker message) { Deliver(SessionMessages{kRouter, {std::move(message)}}); }
  void SubmitJob(uint64_t request, Nonce nonce, Incarnation decode) {
    PrefillJob job{.request = RequestId(request),
                   .epoch = 1,
                   .attempt = 1,
                   .nonce = nonce,
                   .decode_address = "there",
                   .decode = decode,
                   .remaining = std::chrono::seconds(60)};
    for (uint32_t i = 0; i < kBlocks * kBlockTokens + 1; ++i) {
      job.tokens.push_back(static_cast<TokenId>(1000 * request + i));
    }
    Send(std::move(job));
  }
  // A push of the job that is on its way; none before it was granted.
  std::optional<PushId> PushOnItsWay() const { return push_; }

  std::string After(const std::function<void(Situation&)>& deliver) {
    for (const TransferCommand& command : effects_.transfers) {
      if (const auto* push = std::get_if<PushSegment>(&command)) push_ = push->push;
    }
    effects_ = {};
    const uint64_t stale = core_.counters().stale_messages;
    deliver(*this);
    std::vector<std::string> seen;
    if (core_.counters().stale_messages > stale) seen.push_back("stale");
    for (const auto& [session, message] : effects_.sends) {
      const auto* ended = std::get_if<JobEnded>(&message);
      if (ended != nullptr) seen.push_back(absl::StrCat("ended ", static_cast<int>(ended->result)));
    }
    for (const TransferCommand& command : effects_.transfers) {
      const auto* peer = std::get_if<SendPeerMessage>(&command);
      if (std::holds_alternative<PushSegment>(command) && seen.empty()) seen.push_back("pushes");
      if (peer == nullptr || peer->peer != kDecode) continue;
      if (std::holds_alternative<Offer>(peer->message)) seen.push_back("Offer");
      if (std::holds_alternative<OfferRefused>(peer->message)) seen.push_back("OfferRefused");
      if (std::holds_alternative<Abandon>(peer->message)) seen.push_back("Abandon");
    }
    cache_.pool().CheckConserved();
    return absl::StrJoin(seen, " ");
  }

 private:
  Instant now_{std::chrono::hours(1)};
  KvCache cache_{32};
  WorkerEffects effects_;
  std::optional<PushId> push_;
  PrefillCore core_{{.num_layers = kLayers,
                     .block_layer_bytes = 100,
                     .chunk_tokens = 32,
                     .max_running = 1,
                     .max_jobs = 6,
                     .max_model_len = 512},
                    &cache_};
};

struct Row {
  const char* message;
  std::function<void(Situation&)> deliver;
  std::array<const char*, 4> outcome;  // by state; "ended N" is JobEnded with that JobResult
  bool once = false;                   // our own transfer engine never says it twice
};

const std::vector<Row>& Table() {
  static const auto* const table = new std::vector<Row>{
      {"PrefillJob",
       [](Situation& s) { s.SubmitJob(1, kNonce, kDecode); },
       {"Offer", "stale", "stale", "stale"}},
      {"CancelJob",
       [](Situation& s) {
         s.Send(CancelJob{RequestId(1), 1, 1});
       },
       {"", "ended 4", "ended 4 Abandon", "ended 4 Abandon"}},
      {"CancelJob of another attempt",
       [](Situation& s) {
         s.Send(CancelJob{RequestId(1), 1, 2});
       },
       {"", "", "", ""}},
      {"the end of the session",
       [](Situation& s) {
         s.Deliver(SessionClosed{kRouter, "test"});
       },
       {"", "", "Abandon", "Abandon"}},
      {"Grant",
       [](Situation& s) {
         s.FromPeer(Grant{kNonce, kGrant, 0, {kBlocks}});
       },
       {"stale", "stale", "", "stale"}},
      {"Grant that needs nothing",
       [](Situation& s) {
         s.FromPeer(Grant{kNonce, kGrant, kBlocks, {}});
       },
       {"stale", "stale", "ended 1", "stale"}},
      {"Grant that does not fit the offer",
       [](Situation& s) {
         s.FromPeer(Grant{kNonce, kGrant, 0, {kBlocks + 1}});
       },
       {"stale", "stale", "ended 2 Abandon", "stale"}},
      {"Grant of another peer",
       [](Situation& s) {
         s.FromPeer(Grant{kNonce, kGrant, 0, {kBlocks}}, kOtherDecode);
       },
       {"stale", "stale", "stale", "stale"}},
      {"OfferRefused",
       [](Situation& s) {
         s.FromPeer(OfferRefused{kNonce, "test"});
       },
       {"stale", "stale", "ended 2", "ended 2"}},
      {"Revoke",
       [](Situation& s) {
         s.FromPeer(Revoke{kNonce, "test"});
       },
       {"stale", "stale", "ended 3", "ended 3"}},
      {"Revoke of another nonce",
       [](Situation& s) {
         s.FromPeer(Revoke{Nonce{3, 5}, "test"});
       },
       {"stale", "stale", "stale", "stale"}},
      {"CommitAck of the chunk that waits for it",
       [](Situation& s) {
         s.FromPeer(CommitAck{kGrant, 0, 2, {}});
       },
       {"stale", "stale", "stale", ""}},
      {"CommitAck of a chunk that was not committed",
       [](Situation& s) {
         s.FromPeer(CommitAck{kGrant, 2, 2, {}});
       },
       {"stale", "stale", "stale", "stale"}},
      {"CommitAck of another grant",
       [](Situation& s) {
         s.FromPeer(CommitAck{GrantId(6), 0, 2, {}});
       },
       {"stale", "stale", "stale", "stale"}},
      {"CommitAck that names bad segments",
       [](Situation& s) {
         s.FromPeer(CommitAck{kGrant, 0, 2, {SegmentId{0, 0, 0, 2}}});
       },
       {"stale", "stale", "stale", "ended 2 Abandon"}},
      {"Offer",
       [](Situation& s) {
         s.FromPeer(Offer{kNonce, Incarnation(1), 2});
       },
       {"OfferRefused", "OfferRefused", "OfferRefused", "OfferRefused"}},
      {"the end of the peer",
       [](Situation& s) {
         s.Deliver(TransferEvent(PeerDown{kDecode, "test"}));
       },
       {"", "", "ended 2", "ended 2"}},
      {"the end of another peer",
       [](Situation& s) {
         s.Deliver(TransferEvent(PeerDown{Incarnation(9), "test"}));
       },
       {"", "", "", ""}},
      {"a segment that could not be sent",
       [](Situation& s) {
         if (const auto push = s.PushOnItsWay()) {
           s.Deliver(TransferEvent(SegmentSent{*push, false}));
         }
       },
       {"", "", "", "ended 2 Abandon"},
       /*once=*/true},
  };
  return *table;
}

TEST(PrefillMessageTable, EveryMessageInEveryStateHasItsOutcome) {
  for (const Row& row : Table()) {
    for (const State state : kStates) {
      const auto column = static_cast<size_t>(state);
      SCOPED_TRACE(std::string(row.message) + " in state " + kStateNames[column]);
      EXPECT_EQ(Situation(state).After(row.deliver), row.outcome[column]);
    }
  }
}

// The second one meets the state that the first one made.
TEST(PrefillMessageTable, EveryMessageMayComeTwice) {
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

TEST(PrefillMessageTable, ARepeatedCommitAckDoesNotEndTheJobEarly) {
  Situation situation(State::kGranted);
  const auto ack = [](Situation& s) { s.FromPeer(CommitAck{kGrant, 0, 2, {}}); };
  EXPECT_EQ(situation.After(ack), "");
  EXPECT_EQ(situation.After(ack), "stale");
}

}  // namespace
}  // namespace tandem
