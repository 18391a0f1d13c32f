// One prompt that this worker computes and pushes: its blocks, how far computing and pushing have
// come, and the grant it pushes under. State only; PrefillCore moves it.
//
//   queued ─▶ running (blocks held, offered) ─▶ granted ─▶ ended ─▶ gone
//      └──────────────────┴─────────────────────────────────▲   (revoked, abandoned, ...)
//
// What a message does, by the state it meets (tests/prefill_worker/core/message_table_test.cc tries
// every cell). "stale": counted, without effect.
//
//                        none or ended  queued     offered          granted
//   PrefillJob           queued         stale      stale            stale
//   CancelJob, session   -              ends       ends, Abandon    ends, Abandon
//   Grant                stale          stale      granted          stale
//   Grant that misfits   stale          stale      ends, Abandon    stale
//   OfferRefused, Revoke stale          stale      ends             ends
//   CommitAck            stale          stale      stale            counts once; the last one ends
//   CommitAck, bad       stale          stale      stale            ends, Abandon
//   peer down            -              -          ends             ends
//   segment not sent     -              -          -                ends, Abandon
//
// An ended job is unschedulable at once and reported; its blocks are freed when no step and no push
// uses them any more.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/clock.h"
#include "common/base/ids.h"
#include "common/engine/sequence.h"
#include "common/engine/step.h"
#include "common/engine/worker_events.h"
#include "common/protocol/peer_messages.h"
#include "common/protocol/router_messages.h"
#include "prefill_worker/core/segment_plan.h"

namespace tandem {

// What the decode worker granted, and what was sent under it.
struct PushState {
  GrantId grant;
  ReceiverRuns runs;
  uint32_t acked_blocks = 0;             // of those wanted
  std::map<uint32_t, uint32_t> awaited;  // commits without an answer: first block, number of blocks
};

struct PrefillJobState {
  SequenceKey key;
  SessionId session;
  PrefillJob request;  // its tokens moved into `sequence`
  Sequence sequence;
  Lane lane = Lane::kInteractive;
  uint32_t target_blocks = 0;  // full blocks to compute
  uint32_t cached_tokens = 0;  // of them found in the prefix cache

  bool running = false;
  bool ended = false;
  KvLease
      displaced;  // blocks of ours whose content was indexed already; still read by steps or pushes
  std::optional<PushState> push;
  uint32_t steps_in_flight = 0;
  uint32_t pushes_in_flight = 0;
  uint64_t pushed_bytes = 0;

  Instant arrived;
  Instant started;
  Instant computed;                // when the last step ended
  Instant push_deadline = kNever;  // no acknowledgement by then: the decode worker is lost
  Instant expires;

  uint32_t computed_blocks() const { return sequence.landed() / kBlockTokens; }
  bool wants_compute() const {
    return running && !ended && sequence.scheduled() < target_blocks * kBlockTokens;
  }
  // A line for the log about this job.
  CoreNote Note(std::string event, std::vector<std::pair<std::string, std::string>> fields) const {
    return {std::move(event), request.trace_id, std::move(fields)};
  }
  bool in_use() const { return steps_in_flight > 0 || pushes_in_flight > 0; }
  bool fully_acked() const {
    return push && push->runs.first_block + push->acked_blocks >= target_blocks;
  }
};

}  // namespace tandem
