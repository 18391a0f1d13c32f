// What prefill workers do to a decode worker: offers, chunks that landed, losses. See
// decode_core.h.

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/protection.h"
#include "common/engine/admission.h"
#include "decode_worker/core/decode_core.h"

namespace tandem {
namespace {

constexpr absl::string_view kUnknownNonce = "unknown or revoked nonce";

}  // namespace

void DecodeCore::OnTransferEvent(TransferEvent event, Instant now, WorkerEffects* effects) {
  if (auto* received = std::get_if<PeerMessageReceived>(&event)) {
    OnPeerMessage(received->peer, std::move(received->message), now, effects);
  } else if (auto* verified = std::get_if<ChunkVerified>(&event)) {
    OnChunkVerified(*verified, now, effects);
  } else if (auto* rejected = std::get_if<ChunkRejected>(&event)) {
    auto it = by_grant_.find(rejected->grant);
    if (it == by_grant_.end()) {
      ++counters_.stale_messages;
      return;
    }
    Request& request = *Find(it->second);
    effects->transfers.push_back(SendPeerMessage{
        request.landing->peer,
        CommitAck{rejected->grant, rejected->first_block, rejected->num_blocks, rejected->bad}});
    LoseFill(request, absl::StrCat("chunk rejected: ", rejected->reason), now, effects);
  } else if (auto* quiesced = std::get_if<Quiesced>(&event)) {
    auto node = quarantine_.extract(quiesced->grant);
    if (!node.empty()) {
      cache_->EndQuarantine(std::move(node.mapped().lease));
      if (node.mapped().cancelled) cancels_.LetGo(*node.mapped().cancelled, now);
    }
  } else if (auto* down = std::get_if<PeerDown>(&event)) {
    early_offers_.Forget(down->peer);
    for (auto& [key, request] : requests_) {
      const bool filler =
          request->lease.state() == FillState::kRemote && request->lease.prefill() == down->peer;
      if (filler && !request->ended) {
        LoseFill(*request, absl::StrCat("prefill worker lost: ", down->reason), now, effects);
      }
    }
  }
  // PeerUp and SegmentSent need nothing: this worker waits for offers and pushes nothing.
}

void DecodeCore::OnPeerMessage(Incarnation peer, PeerMessage message, Instant now,
                               WorkerEffects* effects) {
  if (auto* offer = std::get_if<Offer>(&message)) {
    OnOffer(peer, *offer, now, effects);
  } else if (auto* abandon = std::get_if<Abandon>(&message)) {
    early_offers_.Forget(peer, abandon->nonce);
    auto it = by_nonce_.find(abandon->nonce);
    if (it == by_nonce_.end() || Find(it->second)->lease.prefill() != peer) {
      ++counters_.stale_messages;
      return;
    }
    LoseFill(*Find(it->second), absl::StrCat("abandoned: ", abandon->reason), now, effects);
  }
  // Grants, acknowledgements and revocations answer offers, which this worker never makes.
}

void DecodeCore::OnOffer(Incarnation peer, const Offer& offer, Instant now,
                         WorkerEffects* effects) {
  auto refuse = [&](absl::string_view why) { RefuseOffer(peer, offer.nonce, why, effects); };
  if (offer.receiver != options_.incarnation) return refuse("meant for an earlier life");
  auto it = by_nonce_.find(offer.nonce);
  if (it == by_nonce_.end()) {
    if (const auto displaced = early_offers_.Hold(peer, offer, now)) {
      RefuseOffer(displaced->peer, displaced->offer.nonce, kUnknownNonce, effects);
    }
    return;
  }
  Request& request = *Find(it->second);
  if (request.lease.prefill() != peer) return refuse("not the assigned prefill worker");
  if (offer.num_blocks != request.remote_blocks()) return refuse("wrong number of blocks");
  if (request.landing) {  // repeated: the same answer again
    effects->transfers.push_back(SendPeerMessage{peer, request.landing->grant});
    return;
  }
  request.offer = PendingOffer{peer, offer.nonce};
  // The wait for room is this worker's doing and must not cost the prefill worker its lease.
  request.lease.Hold(now);
}

void DecodeCore::Expect(Request& request, const Nonce& nonce, Instant now, WorkerEffects* effects) {
  by_nonce_[nonce] = request.key;
  for (const EarlyOffers::Held& early : early_offers_.Take(nonce)) {
    OnOffer(early.peer, early.offer, now, effects);
  }
}

void DecodeCore::RefuseOffer(Incarnation peer, const Nonce& nonce, absl::string_view why,
                             WorkerEffects* effects) {
  ++counters_.stale_messages;
  effects->transfers.push_back(SendPeerMessage{peer, OfferRefused{nonce, std::string(why)}});
}

void DecodeCore::RefuseEarlyOffers(Instant now, WorkerEffects* effects) {
  for (const EarlyOffers::Held& late : early_offers_.TakeExpired(now)) {
    RefuseOffer(late.peer, late.offer.nonce, kUnknownNonce, effects);
  }
}

void DecodeCore::GrantOffers(Instant now, WorkerEffects* effects) {
  std::vector<Request*> waiting;
  for (auto& [key, request] : requests_) {
    if (!request->ended && request->offer) waiting.push_back(request.get());
  }
  SortForAdmission(&waiting, now, [](const Request& r) { return r.arrived; });
  for (Request* request : waiting) {
    if (!TryGrant(*request, now, effects)) return;  // a small one does not overtake a large one
  }
}

// Running sequences grow by a block each before a landing of `request` ends. An older one that is
// no less urgent goes before it with all blocks it still lacks: it may not have been in a step yet
// (one is in flight, or the batch window gathers). That room is left to them, but nobody is put
// before the oldest.
uint32_t DecodeCore::GrowthBefore(const Request& request) const {
  uint32_t growth = 0;
  bool oldest = true;
  for (const auto& [key, other] : requests_) {
    if (other->ended || other.get() == &request) continue;
    oldest &= key > request.key;
    if (other->lease.state() != FillState::kSelf) continue;
    const bool before = key < request.key && other->lane <= request.lane;
    const Sequence& sequence = other->sequence;
    const auto held = static_cast<uint32_t>(sequence.blocks().ids().size());
    const uint32_t needed = BlocksCovering(sequence.tokens().size());
    growth += before && needed > held ? needed - held : 1;
  }
  return oldest ? 0 : growth;
}

bool DecodeCore::TryGrant(Request& request, Instant now, WorkerEffects* effects) {
  // A takeover that was undone may have left committed blocks; they count as hits.
  if (request.sequence.blocks().empty()) {
    const uint32_t cached = request.sequence.MatchCached(request.remote_blocks());
    request.timings.cached_tokens = cached;
    counters_.cached_tokens += cached;
    request.counted_cache = true;
  }
  const uint32_t first = request.sequence.landed() / kBlockTokens;
  const uint32_t missing = request.remote_blocks() - first;
  Grant grant{request.offer->nonce, GrantId(next_grant_++), first, {}};
  if (missing == 0) {
    effects->transfers.push_back(SendPeerMessage{request.offer->peer, std::move(grant)});
    by_nonce_.erase(request.offer->nonce);
    request.offer.reset();
    request.lease.Filled();
    return true;
  }
  auto landing = cache_->pool().available() >= missing + GrowthBefore(request)
                     ? cache_->AcquireLanding(missing)
                     : absl::ResourceExhaustedError("no room beside growth");
  if (!landing.ok()) {
    if (first > 0 && request.timings.pushed_tokens == 0) request.sequence.Preempt().Clear();
    return false;
  }
  grant.run_lengths = RunLengths(landing->ids());
  effects->transfers.push_back(OpenLanding{grant.grant,
                                           request.offer->peer,
                                           first,
                                           {landing->ids().begin(), landing->ids().end()},
                                           grant.nonce});
  effects->transfers.push_back(SendPeerMessage{request.offer->peer, grant});
  effects->notes.push_back({"granted",
                            request.trace_id,
                            {{"grant", absl::StrCat(grant.grant.value())},
                             {"first_block", absl::StrCat(first)},
                             {"blocks", absl::StrCat(missing)},
                             {"runs", absl::StrCat(grant.run_lengths.size())}}});
  by_grant_[grant.grant] = request.key;
  ++counters_.granted;
  if (request.timings.first_grant == Duration{})
    request.timings.first_grant = now - request.arrived;
  request.landing.emplace(
      Landing{request.offer->peer, std::move(grant), std::move(landing).value()});
  request.offer.reset();
  request.lease.Resume(now);
  request.lease.Progress(now);
  return true;
}

void DecodeCore::OnChunkVerified(const ChunkVerified& chunk, Instant now, WorkerEffects* effects) {
  auto it = by_grant_.find(chunk.grant);
  if (it == by_grant_.end()) {
    ++counters_.stale_messages;
    return;
  }
  Request& request = *Find(it->second);
  Landing& landing = *request.landing;
  const uint32_t offset = chunk.first_block - landing.grant.first_block;
  const uint32_t grown =
      request.sequence.Land(chunk.first_block, landing.lease.Commit(offset, chunk.num_blocks));
  const uint32_t tokens = chunk.num_blocks * kBlockTokens;
  request.timings.pushed_tokens += tokens;
  counters_.landed_tokens += tokens;
  request.lease.Progress(now);
  effects->transfers.push_back(SendPeerMessage{
      landing.peer, CommitAck{chunk.grant, chunk.first_block, chunk.num_blocks, {}}});
  effects->notes.push_back({"chunk landed",
                            request.trace_id,
                            {{"first_block", absl::StrCat(chunk.first_block)},
                             {"blocks", absl::StrCat(chunk.num_blocks)},
                             {"bytes", absl::StrCat(chunk.bytes)},
                             {"landed_by", absl::StrCat(grown)}}});
  if (landing.lease.uncommitted() > 0) return;
  request.timings.landed = now - request.arrived;
  by_nonce_.erase(landing.grant.nonce);
  CloseLandingOf(request, effects);
  request.lease.Filled();
}

void DecodeCore::LoseFill(Request& request, absl::string_view reason, Instant now,
                          WorkerEffects* effects) {
  const uint32_t attempt = request.lease.attempt();
  const FillLease::Change change = request.lease.Lost(attempt, now);
  if (change.revoked) Revoke(request, *change.revoked, reason, effects);
  ReportLost(request, attempt, reason, effects);
}

void DecodeCore::ReportLost(Request& request, uint32_t attempt, absl::string_view reason,
                            WorkerEffects* effects) {
  ++counters_.fills_lost;
  const bool self = request.lease.state() == FillState::kSelf;
  effects->sends.emplace_back(request.session, FillLost{request.request, request.epoch, attempt,
                                                        std::string(reason), self});
  effects->notes.push_back({"fill lost",
                            request.trace_id,
                            {{"attempt", absl::StrCat(attempt)},
                             {"why", std::string(reason)},
                             {"landed", absl::StrCat(request.sequence.landed())},
                             {"filling_itself", self ? "1" : "0"}}});
}

void DecodeCore::Revoke(Request& request, const Nonce& nonce, absl::string_view reason,
                        WorkerEffects* effects) {
  by_nonce_.erase(nonce);
  std::optional<Incarnation> peer;
  if (request.offer) peer = request.offer->peer;
  if (request.landing) peer = request.landing->peer;
  if (peer) {
    effects->transfers.push_back(
        SendPeerMessage{*peer, tandem::Revoke{nonce, std::string(reason)}});
  }
  request.offer.reset();
  if (!request.landing) return;
  CloseLandingOf(request, effects);
  request.sequence.DropWaiting();
}

void DecodeCore::CloseLandingOf(Request& request, WorkerEffects* effects) {
  const GrantId grant = request.landing->grant.grant;
  QuarantineLease rest = std::move(request.landing->lease).Quarantine();
  if (!Enabled(Protection::kQuarantine)) {
    cache_->EndQuarantine(std::move(rest));
  } else if (!rest.empty()) {
    Quarantined& kept = quarantine_[grant];
    kept.lease = std::move(rest);
    if (cancels_.Held(request.key)) kept.cancelled = request.key;
  }
  by_grant_.erase(grant);
  request.landing.reset();
  effects->transfers.push_back(CloseLanding{grant});
}

}  // namespace tandem
