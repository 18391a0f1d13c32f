// What decode workers say, and what is sent to them: grants, segments, commits. See prefill_core.h.

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/deadline.h"
#include "prefill_worker/core/prefill_core.h"

namespace tandem {

void PrefillCore::OnTransferEvent(TransferEvent event, Instant now, WorkerEffects* effects) {
  if (auto* received = std::get_if<PeerMessageReceived>(&event)) {
    OnPeerMessage(received->peer, std::move(received->message), now, effects);
  } else if (auto* down = std::get_if<PeerDown>(&event)) {
    EndJobsIf([&](const Job& job) { return job.running && job.request.decode == down->peer; },
              JobResult::kAbandoned, absl::StrCat("decode worker lost: ", down->reason),
              /*tell_peer=*/false, now, effects);
  } else if (auto* sent = std::get_if<SegmentSent>(&event)) {
    auto it = pushes_.find(sent->push);
    TANDEM_CHECK_MSG(it != pushes_.end(), "a push ended twice");
    const SequenceKey key = it->second;
    pushes_.erase(it);
    Job& job = *Find(key);
    --job.pushes_in_flight;
    if (job.ended) {
      ForgetIfUnused(key);
    } else if (!sent->ok) {
      EndJob(job, JobResult::kAbandoned, "a segment could not be sent", /*tell_peer=*/true, now,
             effects);
    } else if (job.push_deadline != kNever) {
      job.push_deadline = DeadlineAfter(now, options_.ack_limit);
    }
  }
  // PeerUp: the offer is already on its way. Landing events cannot happen: this worker grants
  // nothing.
}

void PrefillCore::OnPeerMessage(Incarnation peer, PeerMessage message, Instant now,
                                WorkerEffects* effects) {
  if (auto* grant = std::get_if<Grant>(&message)) {
    Job* job = FindByNonce(peer, grant->nonce);
    if (job == nullptr || job->push) {
      ++counters_.stale_messages;
      return;
    }
    OnGrant(*job, std::move(*grant), now, effects);
  } else if (auto* refused = std::get_if<OfferRefused>(&message)) {
    EndByPeer(peer, refused->nonce, JobResult::kAbandoned,
              absl::StrCat("offer refused: ", refused->reason), now, effects);
  } else if (auto* revoke = std::get_if<Revoke>(&message)) {
    EndByPeer(peer, revoke->nonce, JobResult::kRevoked, revoke->reason, now, effects);
  } else if (auto* ack = std::get_if<CommitAck>(&message)) {
    OnCommitAck(peer, *ack, now, effects);
  } else if (auto* offer = std::get_if<Offer>(&message)) {
    effects->transfers.push_back(
        SendPeerMessage{peer, OfferRefused{offer->nonce, "this worker takes no pushes"}});
  }
}

void PrefillCore::EndByPeer(Incarnation peer, const Nonce& nonce, JobResult result,
                            absl::string_view why, Instant now, WorkerEffects* effects) {
  Job* job = FindByNonce(peer, nonce);
  if (job == nullptr) {
    ++counters_.stale_messages;
    return;
  }
  EndJob(*job, result, why, /*tell_peer=*/false, now, effects);
}

void PrefillCore::OnGrant(Job& job, Grant grant, Instant now, WorkerEffects* effects) {
  const uint64_t wanted =
      std::accumulate(grant.run_lengths.begin(), grant.run_lengths.end(), uint64_t{0});
  if (grant.first_block + wanted != job.target_blocks) {
    return EndJob(job, JobResult::kAbandoned, "the grant does not fit the offer",
                  /*tell_peer=*/true, now, effects);
  }
  effects->notes.push_back(
      job.Note("grant received", {{"first_block", absl::StrCat(grant.first_block)},
                                  {"blocks", absl::StrCat(wanted)},
                                  {"runs", absl::StrCat(grant.run_lengths.size())}}));
  by_grant_[{job.request.decode, grant.grant}] = job.key;
  job.push = PushState{grant.grant, {grant.first_block, std::move(grant.run_lengths)}, 0, {}};
  if (job.fully_acked()) {
    return EndJob(job, JobResult::kPushed, "nothing was missing", /*tell_peer=*/false, now,
                  effects);
  }
  // What is complete goes at once, in chunks that can be verified while the next one travels; of
  // the steps that run, the layers that are done. The rest follows as it is computed.
  const uint32_t computed = job.computed_blocks();
  for (uint32_t begin = job.push->runs.first_block; begin < computed;
       begin += options_.max_segment_blocks) {
    const uint32_t end = std::min(computed, begin + options_.max_segment_blocks);
    std::vector<SegmentId> segments;
    for (uint32_t layer = 0; layer < options_.num_layers; ++layer) {
      PushLayer(job, layer, begin, end, &segments, effects);
    }
    CommitRange(job, begin, end, std::move(segments), now, effects);
  }
  for (auto& [id, step] : steps_) {
    for (StepPart& part : step.parts) {
      if (part.key != job.key) continue;
      for (uint32_t layer = 0; layer < step.layers_done; ++layer) {
        PushPart(job, id, part, layer, effects);
      }
    }
  }
}

void PrefillCore::OnCommitAck(Incarnation peer, const CommitAck& ack, Instant now,
                              WorkerEffects* effects) {
  auto it = by_grant_.find({peer, ack.grant});
  if (it == by_grant_.end()) {
    ++counters_.stale_messages;
    return;
  }
  Job& job = *Find(it->second);
  if (!ack.bad.empty()) {
    return EndJob(job, JobResult::kAbandoned,
                  absl::StrCat(ack.bad.size(), " segments failed verification"),
                  /*tell_peer=*/true, now, effects);
  }
  const auto awaited = job.push->awaited.find(ack.first_block);
  if (awaited == job.push->awaited.end() || awaited->second != ack.num_blocks) {
    ++counters_.stale_messages;
    return;
  }
  job.push->awaited.erase(awaited);
  job.push->acked_blocks += ack.num_blocks;
  const bool all_sent_acked =
      job.push->runs.first_block + job.push->acked_blocks >= job.computed_blocks();
  job.push_deadline = all_sent_acked ? kNever : DeadlineAfter(now, options_.ack_limit);
  if (job.fully_acked()) {
    EndJob(job, JobResult::kPushed, "", /*tell_peer=*/false, now, effects);
  }
}

void PrefillCore::PushPart(Job& job, StepId step, StepPart& part, uint32_t layer,
                           WorkerEffects* effects) {
  const bool first = part.segments.empty();
  PushLayer(job, layer, part.first_block, part.end_block, &part.segments, effects);
  if (!first || part.segments.empty()) return;
  effects->notes.push_back(job.Note(
      "first layer pushed", {{"step", absl::StrCat(step.value())},
                             {"layers_still_to_compute",
                              absl::StrCat(options_.num_layers - steps_.at(step).layers_done)}}));
}

void PrefillCore::PushLayer(Job& job, uint32_t layer, uint32_t begin, uint32_t end,
                            std::vector<SegmentId>* segments, WorkerEffects* effects) {
  begin = std::max(begin, job.push->runs.first_block);
  if (begin >= end) return;
  for (const BlockPiece& piece : CutIntoPieces(begin, end, job.sequence.blocks().ids(),
                                               job.push->runs, options_.max_segment_blocks)) {
    const SegmentId segment{0, static_cast<uint16_t>(layer), piece.first_block, piece.num_blocks};
    const PushId push(++last_push_);
    pushes_[push] = job.key;
    ++job.pushes_in_flight;
    const uint64_t bytes = piece.num_blocks * options_.block_layer_bytes;
    job.pushed_bytes += bytes;
    counters_.pushed_bytes += bytes;
    segments->push_back(segment);
    effects->transfers.push_back(PushSegment{push, job.request.decode, job.push->grant, segment,
                                             piece.source, job.request.nonce});
  }
}

void PrefillCore::CommitRange(Job& job, uint32_t begin, uint32_t end,
                              std::vector<SegmentId> segments, Instant now,
                              WorkerEffects* effects) {
  begin = std::max(begin, job.push->runs.first_block);
  if (begin >= end) return;
  job.push_deadline = DeadlineAfter(now, options_.ack_limit);
  job.push->awaited[begin] = end - begin;
  effects->transfers.push_back(SendPeerMessage{
      job.request.decode, Commit{job.push->grant, begin, end - begin, std::move(segments)}});
}

}  // namespace tandem
