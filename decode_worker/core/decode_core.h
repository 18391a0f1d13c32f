// DecodeCore: the state machine of a decode worker. It books requests, grants room to the prefill
// workers that fill them, fills by itself what nobody else does, runs all sequences in one batch
// per step, and emits their tokens.
//
// Deterministic and free of I/O: events go in with the time, effects come out. It never computes:
// it submits a step and handles StepDone, so Cancel and Offer are answered while a step runs. Core
// thread only. The KvCache must outlive it.
//
// Freed blocks go to the growth of running sequences first, then to sequences that fill by
// themselves (oldest first), then to Offers in the order of admission.h; an Offer leaves room for
// older sequences of its lane or a more urgent one that fill by themselves. A sequence is preempted
// only for an older one, so the oldest always finishes.
//
// Bounds: `max_sequences` booked requests and the ledger, beyond which a request is refused; every
// request ends at its own deadline; a remote filler that commits nothing for its `fallback_after`
// is replaced by this worker; Offers under unknown nonces wait for their Assign, few and briefly.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "common/base/clock.h"
#include "common/engine/batch_window.h"
#include "common/engine/cancel_clock.h"
#include "common/engine/cost_model.h"
#include "common/engine/prefix_root.h"
#include "common/engine/step.h"
#include "common/engine/step_planner.h"
#include "common/engine/worker_core.h"
#include "common/kv/kv_cache.h"
#include "common/kv/ledger.h"
#include "decode_worker/core/decode_request.h"
#include "decode_worker/core/early_offers.h"

namespace tandem {

struct DecodeCoreOptions {
  PrefixRoot prefix_root;
  Incarnation incarnation;
  uint64_t first_grant_id = 1;      // drawn at random by the shell
  std::vector<TokenId> end_tokens;  // the model's own: end of sequence, of turn
  uint32_t max_model_len = 0;
  uint32_t max_sequences = 64;
  uint32_t reserve_blocks = 0;  // never booked
  uint32_t expected_output_tokens =
      512;  // a request books at most this much growth; more is had by preemption
  StepLimits step_limits;
  Duration batch_window{};  // see batch_window.h
  Duration heartbeat_interval = kHeartbeatInterval;
};

struct DecodeCounters {
  uint64_t booked = 0;
  uint64_t refused = 0;
  uint64_t finished = 0;
  uint64_t cancelled = 0;
  uint64_t failed = 0;
  uint64_t generated_tokens = 0;
  uint64_t cached_tokens = 0;
  uint64_t landed_tokens = 0;
  uint64_t computed_prompt_tokens = 0;
  uint64_t granted = 0;
  uint64_t fills_lost = 0;
  uint64_t takeovers = 0;
  uint64_t preemptions = 0;
  uint64_t stale_messages = 0;  // for requests, attempts or grants that are no more
};

class DecodeCore final : public WorkerCore {
 public:
  DecodeCore(const DecodeCoreOptions& options, KvCache* cache);
  // Blocks in quarantine stay there; everything else is given back.
  ~DecodeCore() override;

  void Handle(WorkerEvent event, Instant now, WorkerEffects* effects) override;
  // Meets deadlines, plans the next step, grants waiting offers, sends heartbeats. `progress_age`
  // is the runner's.
  void Advance(Instant now, Duration progress_age, WorkerEffects* effects) override;
  Instant NextDeadline() const override;

  bool draining() const { return draining_; }
  // No request, no step, and nothing in quarantine: only free and cached blocks are left.
  bool idle() const override { return requests_.empty() && quarantine_.empty() && !step_; }
  WorkerLoad load() const override;
  const DecodeCounters& counters() const { return counters_; }
  // How long the blocks of cancelled requests stayed taken, since the last call.
  std::vector<Duration> TakeCancelToFree() { return cancels_.TakeSpans(); }

 private:
  using Request = DecodeRequest;
  struct StepInFlight {
    StepId id;
    std::vector<PlannedPart> parts;
    StepWork work;  // as submitted
  };
  struct Quarantined {
    QuarantineLease lease;
    std::optional<SequenceKey> cancelled;  // whose cancel waits for it
  };

  // decode_core.cc: what routers ask.
  void OnSessionMessages(SessionMessages batch, Instant now, WorkerEffects* effects);
  void OnGenerate(SessionId session, Generate generate, Instant now, WorkerEffects* effects);
  void OnAssign(Request& request, const Assign& assign, Instant now, WorkerEffects* effects);
  void OnCancel(Request& request, WorkerEffects* effects);
  void Refuse(SessionId session, const Generate& generate, RefuseReason reason,
              absl::string_view message, WorkerEffects* effects);
  void FinishRequest(Request& request, Finish finish, TokenFrame frame, Instant now,
                     WorkerEffects* effects);
  void FailRequest(Request& request, absl::string_view error, Instant now, WorkerEffects* effects);
  // Makes the request unschedulable, takes its right to write back, and forgets it once no step
  // uses it.
  void EndRequest(Request& request, WorkerEffects* effects);
  void ForgetIfUnused(Request& request);
  void MeetDeadlines(Instant now, WorkerEffects* effects);

  // landing.cc: what prefill workers do.
  void OnTransferEvent(TransferEvent event, Instant now, WorkerEffects* effects);
  void OnPeerMessage(Incarnation peer, PeerMessage message, Instant now, WorkerEffects* effects);
  void OnOffer(Incarnation peer, const Offer& offer, Instant now, WorkerEffects* effects);
  // `nonce` is the right to fill `request` from now on; an Offer under it may be here already.
  void Expect(Request& request, const Nonce& nonce, Instant now, WorkerEffects* effects);
  void RefuseOffer(Incarnation peer, const Nonce& nonce, absl::string_view why,
                   WorkerEffects* effects);
  void RefuseEarlyOffers(Instant now, WorkerEffects* effects);
  void OnChunkVerified(const ChunkVerified& chunk, Instant now, WorkerEffects* effects);
  void GrantOffers(Instant now, WorkerEffects* effects);
  uint32_t GrowthBefore(const Request& request) const;
  bool TryGrant(Request& request, Instant now, WorkerEffects* effects);
  // The remote filler ended without filling: revokes it and tells the router.
  void LoseFill(Request& request, absl::string_view reason, Instant now, WorkerEffects* effects);
  void ReportLost(Request& request, uint32_t attempt, absl::string_view reason,
                  WorkerEffects* effects);
  // `nonce` lost its right to write: its landing blocks go to quarantine, its prefill worker is
  // told.
  void Revoke(Request& request, const Nonce& nonce, absl::string_view reason,
              WorkerEffects* effects);
  void CloseLandingOf(Request& request, WorkerEffects* effects);

  // stepping.cc: what the runner does.
  void OnSequenceDropped(const SequenceDropped& dropped);
  void OnStepDone(const StepDone& done, Instant now, WorkerEffects* effects);
  void OnSampled(Request& request, const SampledToken& sampled, Instant now,
                 WorkerEffects* effects);
  // Returns true when a sequence was left out for want of blocks.
  bool SubmitStep(Instant now, WorkerEffects* effects);
  std::vector<RunnableSequence> Runnable();
  bool EnsureBlocks(Request& request, uint32_t tokens, WorkerEffects* effects);
  Request* YoungerVictim(const Request& request);
  void PreemptRequest(Request& victim, WorkerEffects* effects);
  bool IsEndToken(TokenId token) const;
  std::vector<TokenId> BannedTokens(const Request& request) const;

  Request* Find(SequenceKey key);
  Request* FindByName(SessionId session, RequestId request);

  const DecodeCoreOptions options_;
  KvCache* const cache_;
  Ledger ledger_;
  std::set<SessionId> sessions_;
  std::map<SequenceKey, std::unique_ptr<Request>> requests_;  // oldest first
  std::map<std::pair<SessionId, RequestId>, SequenceKey> by_name_;
  absl::flat_hash_map<Nonce, SequenceKey> by_nonce_;
  absl::flat_hash_map<GrantId, SequenceKey> by_grant_;
  EarlyOffers early_offers_;
  absl::flat_hash_map<GrantId, Quarantined> quarantine_;  // until Quiesced
  CancelClock cancels_;
  Instant now_{};  // of the call being handled
  std::optional<StepInFlight> step_;
  StepCostModel cost_;
  BatchWindow window_;
  uint64_t last_key_ = 0;
  uint64_t last_step_ = 0;
  uint64_t next_grant_;
  Instant next_heartbeat_{};
  bool draining_ = false;
  DecodeCounters counters_;
};

}  // namespace tandem
