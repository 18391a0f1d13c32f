#include "common/transfer/transfer_counters.h"

namespace tandem {

const char* FenceReasonName(FenceReason reason) {
  switch (reason) {
    case FenceReason::kMalformed:
      return "malformed";
    case FenceReason::kWrongIncarnation:
      return "wrong_incarnation";
    case FenceReason::kMismatch:
      return "mismatch";
    case FenceReason::kUnexpected:
      return "unexpected";
    case FenceReason::kUnknownGrant:
      return "unknown_grant";
    case FenceReason::kDuplicate:
      return "duplicate";
    case FenceReason::kCount:
      break;
  }
  return "?";
}

const char* SegmentRefusalName(SegmentRefusal reason) {
  switch (reason) {
    case SegmentRefusal::kMalformedHeader:
      return "malformed_header";
    case SegmentRefusal::kUnknownPeer:
      return "unknown_peer";
    case SegmentRefusal::kUnknownGrant:
      return "unknown_grant";
    case SegmentRefusal::kWrongPeer:
      return "wrong_peer";
    case SegmentRefusal::kOutOfRange:
      return "out_of_range";
    case SegmentRefusal::kSplitRun:
      return "split_run";
    case SegmentRefusal::kWrongLength:
      return "wrong_length";
    case SegmentRefusal::kDuplicate:
      return "duplicate";
    case SegmentRefusal::kCount:
      break;
  }
  return "?";
}

}  // namespace tandem
