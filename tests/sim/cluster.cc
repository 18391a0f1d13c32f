#include "tests/sim/cluster.h"

#include <algorithm>
#include <utility>

namespace tandem::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Far beyond what a run needs: something goes round in circles.
constexpr uint64_t kMostEvents = 2'000'000;
constexpr Duration kQuietLimit = seconds(40);
// What was under way when the faults ended may still do harm for so long: stalled sessions,
// replays.
constexpr Duration kAftermath = seconds(8);
constexpr uint32_t kProbes = 3;

}  // namespace

Cluster::Cluster(uint64_t seed, bool log_enabled)
    : world_(seed, log_enabled), profile_(DrawProfile(&world_.random)) {
  DrawWorkers();
  router_ = std::make_unique<SimRouter>(&world_, DrawRouter(), profile_.calm);
  std::vector<SessionWorker*> ends;
  std::vector<SimWorker*> all;
  for (const auto& worker : workers_) {
    ends.push_back(worker.get());
    all.push_back(worker.get());
  }
  sessions_ = std::make_unique<SimSessions>(&world_, ends, router_.get());
  router_->set_sessions(sessions_.get());
  for (const auto& worker : workers_) worker->set_sessions(sessions_.get());
  faults_ = std::make_unique<FaultSchedule>(&world_, profile_, sessions_.get(), all);
}

void Cluster::DrawWorkers() {
  Random& random = world_.random;
  num_layers_ = random.Between(1, 3);
  max_model_len_ = kLongestPrompt + kMostOutputs + random.Between(0, 64);
  const uint32_t num_prefill = random.Between(1, 3);
  const uint32_t num_decode = random.Between(1, 3);
  for (uint32_t i = 0; i < num_prefill + num_decode; ++i) {
    const WorkerRole role = i < num_prefill ? WorkerRole::kPrefill : WorkerRole::kDecode;
    workers_.push_back(std::make_unique<SimWorker>(&world_, DrawSpec(role, i)));
  }
}

WorkerSpec Cluster::DrawSpec(WorkerRole role, uint32_t slot) {
  Random& random = world_.random;
  WorkerSpec spec{.role = role, .slot = slot, .num_layers = num_layers_};
  spec.max_model_len = max_model_len_;
  const uint32_t reserve = random.Between(0, 3);
  const uint32_t fewest = BlocksCovering(kLongestPrompt + kMostOutputs) + reserve;
  // Calm runs have room for everybody; in others most pools are tight.
  spec.num_blocks = profile_.calm        ? 512
                    : random.Chance(0.7) ? random.Between(fewest, fewest + 8)
                                         : random.Between(fewest, 160);
  const uint32_t chunk = kBlockTokens * random.Between(1, 6);
  const Duration window = random.Chance(0.5) ? milliseconds(random.Between(1, 20)) : Duration{};
  spec.decode = {.prefix_root = {.secret = {}, .model_fingerprint = "sim", .numeric_profile = ""},
                 .end_tokens = {kEndToken},
                 .max_model_len = max_model_len_,
                 .max_sequences = profile_.calm ? 256 : random.Between(2, 24),
                 .reserve_blocks = reserve,
                 .expected_output_tokens = random.Between(1, random.Chance(0.6) ? 3 : kMostOutputs),
                 .step_limits = {.max_batch_tokens = random.Between(chunk, 256),
                                 .max_prefill_tokens = chunk,
                                 .max_sequences = random.Between(2, 24),
                                 .max_time = random.Chance(0.3) ? milliseconds(4) : Duration{},
                                 .max_stretch = random.Chance(0.5) ? 2.0 : 0.0},
                 .batch_window = window};
  spec.prefill = {.prefix_root = spec.decode.prefix_root,
                  .num_layers = num_layers_,
                  .block_layer_bytes = kBlockLayerBytes,
                  .chunk_tokens = chunk,
                  .max_step_time = random.Chance(0.5) ? milliseconds(6) : Duration{},
                  .batch_window = window,
                  .max_running = random.Between(1, 8),
                  .max_jobs = profile_.calm ? 256 : random.Between(2, 64),
                  .max_model_len = max_model_len_,
                  .max_segment_blocks = random.Between(1, 8),
                  .ack_limit = random.Between(milliseconds(500), milliseconds(2500))};
  spec.transfer = {.connect_deadline = random.Between(milliseconds(500), milliseconds(1500)),
                   .no_progress_limit = random.Between(milliseconds(300), milliseconds(1200)),
                   .max_inflight_bytes = kBlockLayerBytes * random.Between(1, 64)};
  return spec;
}

RouterCoreOptions Cluster::DrawRouter() {
  Random& random = world_.random;
  RouterCoreOptions options;
  options.num_workers = static_cast<uint32_t>(workers_.size());
  options.short_suffix_tokens = random.Chance(0.5) ? 17 : random.Between(1, 80);
  options.max_queued = profile_.calm ? 256 : random.Between(4, 64);
  options.max_concurrent = random.Between(8, 64);
  options.fallback_base = random.Between(milliseconds(100), milliseconds(1500));
  options.fallback_per_token = milliseconds(2);
  options.booked_limit = random.Between(milliseconds(100), milliseconds(1000));
  options.stall_limit = random.Between(milliseconds(100), milliseconds(3000));
  options.prefix_blocks_per_worker = random.Chance(0.5) ? 16 : 1u << 12;
  options.model_fingerprint = "sim";
  if (profile_.calm) {
    options.fallback_base = options.booked_limit = options.stall_limit = seconds(5);
    options.queue_limit = seconds(60);
  }
  return options;
}

RunResult Cluster::Run() {
  Random& random = world_.random;
  const Duration span =
      random.Between(milliseconds(100), milliseconds(random.Chance(0.5) ? 600 : 4000));
  const uint32_t count = random.Between(1, random.Chance(0.5) ? 30 : 120);
  for (const ClientRequest& request : DrawWorkload(&random, count, span)) {
    std::vector<TokenId> all = request.prompt;
    all.insert(all.end(), request.expected.tokens.begin(), request.expected.tokens.end());
    world_.prefixes.Add(all);
    world_.queue.After(milliseconds(20) + request.at,
                       [this, request] { router_->Submit(request, /*must_finish=*/false); });
  }
  for (const auto& worker : workers_) worker->Start();
  sessions_->Start();
  faults_->Start(span);
  RunUntil(world_.queue.now() + span + milliseconds(50));
  if (!world_.oracle.failed()) faults_->End();
  RunUntil(world_.queue.now() + kAftermath);
  RunUntilQuiet(kQuietLimit, "after the faults");
  Probe();
  const uint64_t digest = Mix(world_.queue.digest(), random.Next());
  for (const auto& worker : workers_) worker->End();
  world_.coverage.Add(router_->stats());
  return {world_.oracle.failure(), world_.queue.executed(), digest, world_.coverage};
}

void Cluster::RunUntil(Instant until) {
  while (world_.queue.next() <= until && !world_.oracle.failed()) {
    world_.queue.RunNext();
    if (world_.queue.executed() > kMostEvents) world_.oracle.Fail("the run does not end");
  }
  if (!world_.oracle.failed()) world_.queue.AdvanceTo(until);
}

void Cluster::RunUntilQuiet(Duration limit, const char* when) {
  const Instant last = world_.queue.now() + limit;
  while (!Quiet() && !world_.oracle.failed()) {
    if (world_.queue.now() >= last) {
      std::string busy;
      for (const auto& worker : workers_) {
        if (!worker->Alive() || !worker->Idle()) {
          absl::StrAppend(&busy, "; ", worker->DescribeBusy());
        }
      }
      return world_.oracle.Fail("not quiet ", ToSeconds(limit), " s ", when,
                                "; open streams:", router_->DescribeOpen(), busy);
    }
    RunUntil(std::min(last, world_.queue.now() + milliseconds(50)));
  }
}

bool Cluster::Quiet() const {
  return router_->open_streams() == 0 && router_->Ready() &&
         std::all_of(workers_.begin(), workers_.end(),
                     [](const auto& worker) { return worker->Idle(); });
}

// The cluster still serves.
void Cluster::Probe() {
  for (uint32_t i = 0; i < kProbes && !world_.oracle.failed(); ++i) {
    const ClientRequest probe = DrawProbe(&world_.random, 1'000'000 + i);
    std::vector<TokenId> all = probe.prompt;
    all.insert(all.end(), probe.expected.tokens.begin(), probe.expected.tokens.end());
    world_.prefixes.Add(all);
    router_->Submit(probe, /*must_finish=*/true);
    RunUntilQuiet(kQuietLimit, "after a probe");
  }
}

}  // namespace tandem::sim
