#include "tests/sim/coverage.h"

#include "absl/strings/str_cat.h"

namespace tandem::sim {

void Coverage::Add(const DecodeCounters& decode) {
  Add("decode: booked", decode.booked);
  Add("decode: refused", decode.refused);
  Add("decode: failed", decode.failed);
  Add("decode: granted", decode.granted);
  Add("decode: fills lost", decode.fills_lost);
  Add("decode: takeovers", decode.takeovers);
  Add("decode: preemptions", decode.preemptions);
  Add("decode: stale messages", decode.stale_messages);
  Add("decode: tokens landed", decode.landed_tokens);
  Add("decode: tokens cached", decode.cached_tokens);
}

void Coverage::Add(const PrefillCounters& prefill) {
  static constexpr const char* kResults[] = {"",        "pushed",    "abandoned",
                                             "revoked", "cancelled", "refused"};
  for (int result = 1; result < 6; ++result) {
    Add(absl::StrCat("prefill: jobs ", kResults[result]), prefill.jobs_by_result[result]);
  }
  Add("prefill: tokens cached", prefill.cached_tokens);
  Add("prefill: stale messages", prefill.stale_messages);
}

void Coverage::Add(const TransferCounters& transfer) {
  Add("transfer: segments sent", transfer.segments_sent);
  Add("transfer: segments failed", transfer.segments_failed);
  Add("transfer: receives failed", transfer.receives_failed);
  Add("transfer: checksum failures", transfer.checksum_failures);
  Add("transfer: chunks verified", transfer.chunks_verified);
  Add("transfer: chunks rejected", transfer.chunks_rejected);
  Add("transfer: peers down", transfer.peers_down);
  Add("transfer: peers stalled", transfer.stalled_peers);
  for (size_t i = 0; i < static_cast<size_t>(FenceReason::kCount); ++i) {
    const auto why = static_cast<FenceReason>(i);
    Add(absl::StrCat("transfer: messages fenced, ", FenceReasonName(why)), transfer[why]);
  }
  for (size_t i = 0; i < static_cast<size_t>(SegmentRefusal::kCount); ++i) {
    const auto why = static_cast<SegmentRefusal>(i);
    Add(absl::StrCat("transfer: segments refused, ", SegmentRefusalName(why)), transfer[why]);
  }
}

void Coverage::Add(const RouterStats& router) {
  Add("router: submitted", router.submitted);
  Add("router: finished", router.finished);
  Add("router: cancelled", router.cancelled);
  Add("router: failed", router.failed);
  Add("router: failed, overloaded", router.overloaded);
  Add("router: failed, no worker", router.no_worker);
  Add("router: failed, poisoned", router.poisoned);
  Add("router: fills reassigned", router.fills_reassigned);
  Add("router: decode restarts", router.decode_restarts);
  Add("router: frames fenced", router.fenced_frames);
  Add("router: stale messages", router.stale_messages);
  Add("router: invalid messages", router.invalid_messages);
  Add("router: tokens", router.output_tokens);
}

}  // namespace tandem::sim
