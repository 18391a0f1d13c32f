// PrefillCore: the state machine of a prefill worker. It computes the full blocks of prompts in
// chunks and pushes each chunk, layer by layer, to the decode worker that granted room for it. It
// samples nothing and emits no token.
//
// Deterministic and free of I/O: events go in with the time, effects come out. It never computes:
// it submits a step and handles LayerDone and StepDone, so control messages are answered between
// two layers. Core thread only. The KvCache must outlive it.
//
// Bounds: `max_jobs` queued and running jobs, beyond which a job is refused; kMaxStepsInFlight
// steps; every job ends at its own deadline, and a granted one when nothing is acknowledged for
// `ack_limit`.
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
#include "common/engine/worker_core.h"
#include "common/kv/kv_cache.h"
#include "prefill_worker/core/prefill_job.h"

namespace tandem {

struct PrefillCoreOptions {
  PrefixRoot prefix_root;
  uint32_t num_layers = 0;
  uint64_t block_layer_bytes = 0;  // bytes of one block in one layer
  uint32_t chunk_tokens = 512;     // computed in one step; a multiple of kBlockTokens
  // A step with an interactive job in it is made smaller than chunk_tokens where it would take
  // longer; zero: never. Of steps without one, up to two are in flight before such a job's first.
  Duration max_step_time{};
  Duration batch_window{};    // see batch_window.h
  uint32_t max_running = 16;  // jobs that hold blocks
  uint32_t max_jobs = 1024;
  uint32_t max_model_len = 0;
  uint32_t max_segment_blocks =
      64;  // long runs are cut, so that verification overlaps with receiving
  Duration ack_limit = std::chrono::seconds(5);
  Duration heartbeat_interval = kHeartbeatInterval;
};

struct PrefillCounters {
  uint64_t jobs_by_result[6] = {};  // by JobResult
  uint64_t computed_tokens = 0;
  uint64_t cached_tokens = 0;
  uint64_t pushed_bytes = 0;
  uint64_t stale_messages = 0;  // of grants, steps or jobs that are no more
};

class PrefillCore final : public WorkerCore {
 public:
  PrefillCore(const PrefillCoreOptions& options, KvCache* cache);

  void Handle(WorkerEvent event, Instant now, WorkerEffects* effects) override;
  // Starts jobs, plans steps, sends heartbeats and meets deadlines. `progress_age` is the runner's.
  void Advance(Instant now, Duration progress_age, WorkerEffects* effects) override;
  Instant NextDeadline() const override;

  bool draining() const { return draining_; }
  bool idle() const override { return jobs_.empty() && steps_.empty(); }
  WorkerLoad load() const override;
  const PrefillCounters& counters() const { return counters_; }
  // How long the blocks of cancelled jobs stayed taken, since the last call.
  std::vector<Duration> TakeCancelToFree() { return cancels_.TakeSpans(); }

 private:
  using Job = PrefillJobState;
  struct JobName {  // what a router calls a job
    SessionId session;
    RequestId request;
    uint32_t epoch = 0;
    uint32_t attempt = 0;
    friend auto operator<=>(const JobName&, const JobName&) = default;
  };
  struct StepPart {
    SequenceKey key;
    uint32_t first_block = 0;
    uint32_t end_block = 0;
    std::vector<SegmentId> segments;  // pushed so far, for the Commit
  };
  struct StepInFlight {
    std::vector<StepPart> parts;
    uint32_t layers_done = 0;
    StepWork work;      // as submitted
    bool whole = true;  // no sequence left it
  };

  // prefill_core.cc: what routers ask.
  void OnSessionMessages(SessionMessages batch, Instant now, WorkerEffects* effects);
  void OnPrefillJob(SessionId session, PrefillJob request, Instant now, WorkerEffects* effects);
  void Refuse(SessionId session, const PrefillJob& request, absl::string_view why,
              WorkerEffects* effects);
  // Ends a job: reports it, tells the peer when `tell_peer`, takes it out of running steps, and
  // frees its blocks once nothing uses them.
  void EndJob(Job& job, JobResult result, absl::string_view message, bool tell_peer, Instant now,
              WorkerEffects* effects);
  void ForgetIfUnused(SequenceKey key);
  void EndJobsIf(const std::function<bool(const Job&)>& matches, JobResult result,
                 absl::string_view message, bool tell_peer, Instant now, WorkerEffects* effects);

  // pushing.cc: what decode workers do, and what they are sent.
  void OnTransferEvent(TransferEvent event, Instant now, WorkerEffects* effects);
  void OnPeerMessage(Incarnation peer, PeerMessage message, Instant now, WorkerEffects* effects);
  void EndByPeer(Incarnation peer, const Nonce& nonce, JobResult result, absl::string_view why,
                 Instant now, WorkerEffects* effects);
  void OnGrant(Job& job, Grant grant, Instant now, WorkerEffects* effects);
  void OnCommitAck(Incarnation peer, const CommitAck& ack, Instant now, WorkerEffects* effects);
  // Pushes one layer of a step that still runs.
  void PushPart(Job& job, StepId step, StepPart& part, uint32_t layer, WorkerEffects* effects);
  // Pushes one layer of blocks [begin, end), as far as the grant wants them.
  void PushLayer(Job& job, uint32_t layer, uint32_t begin, uint32_t end,
                 std::vector<SegmentId>* segments, WorkerEffects* effects);
  void CommitRange(Job& job, uint32_t begin, uint32_t end, std::vector<SegmentId> segments,
                   Instant now, WorkerEffects* effects);

  // stepping.cc: what the runner does.
  void StartJobs(Instant now, WorkerEffects* effects);
  bool StartJob(Job& job, Instant now, WorkerEffects* effects);
  bool SubmitStep(Instant now, WorkerEffects* effects);
  void OnLayerDone(const LayerDone& done, WorkerEffects* effects);
  void OnSequenceDropped(const SequenceDropped& dropped);
  void OnStepDone(const StepDone& done, Instant now, WorkerEffects* effects);

  Job* Find(SequenceKey key);
  Job* FindByNonce(Incarnation peer, const Nonce& nonce);

  const PrefillCoreOptions options_;
  KvCache* const cache_;
  std::set<SessionId> sessions_;
  std::map<SequenceKey, std::unique_ptr<Job>> jobs_;  // by arrival
  std::map<JobName, SequenceKey> by_name_;
  absl::flat_hash_map<Nonce, SequenceKey> by_nonce_;
  absl::flat_hash_map<std::pair<Incarnation, GrantId>, SequenceKey> by_grant_;
  absl::flat_hash_map<PushId, SequenceKey> pushes_;
  std::map<StepId, StepInFlight> steps_;
  StepCostModel cost_;
  BatchWindow window_;
  uint64_t last_key_ = 0;
  uint64_t last_step_ = 0;
  uint64_t last_push_ = 0;
  CancelClock cancels_;
  Instant now_{};  // of the call being handled
  Instant next_heartbeat_{};
  bool draining_ = false;
  PrefillCounters counters_;
};

}  // namespace tandem
