#include "common/worker/worker_telemetry.h"

#include <array>
#include <cstddef>
#include <utility>

namespace tandem {
namespace {

// One counter per reason; the labels are in the order of the reasons.
template <class Label, size_t n>
void SetTotals(const std::array<uint64_t, n>& totals, ByLabel<Label, Counter>* counters) {
  static_assert(n == static_cast<size_t>(Label::kCount));
  for (size_t i = 0; i < n; ++i) (*counters)[static_cast<Label>(i)].SetTotal(totals[i]);
}

}  // namespace

WorkerTelemetry::WorkerTelemetry(MetricsRegistry* registry, const KvCache* cache,
                                 const WorkerCore* core, std::function<void(WorkerMetrics*)> feed)
    : metrics_(registry), cache_(cache), core_(core), feed_(std::move(feed)) {}

void WorkerTelemetry::OnSubmitted(const StepPlan& plan) {
  size_t tokens = 0;
  for (const StepSequence& sequence : plan.sequences) tokens += sequence.tokens.size();
  metrics_.batch_size.Observe(static_cast<double>(plan.sequences.size()));
  metrics_.batch_tokens.Observe(static_cast<double>(tokens));
}

void WorkerTelemetry::OnStepDone(const StepDone& done) {
  metrics_.step_seconds.Observe(ToSeconds(done.computing));
}

void WorkerTelemetry::OnTurn(const TransferCounters& transfer) {
  const BlockPool& pool = cache_->pool();
  const std::pair<BlockStateLabel, BlockState> states[] = {
      {BlockStateLabel::kFree, BlockState::kFree},
      {BlockStateLabel::kLanding, BlockState::kLanding},
      {BlockStateLabel::kFilling, BlockState::kFilling},
      {BlockStateLabel::kReady, BlockState::kReady},
      {BlockStateLabel::kCached, BlockState::kCached},
      {BlockStateLabel::kQuarantined, BlockState::kQuarantined}};
  for (const auto& [label, state] : states) metrics_.kv_blocks[label].Set(pool.count(state));
  const WorkerLoad load = core_->load();
  metrics_.running.Set(load.running);
  metrics_.waiting.Set(load.waiting);
  metrics_.prefix_hits.SetTotal(cache_->stats().hit_blocks);
  metrics_.prefix_misses.SetTotal(cache_->stats().missed_blocks);
  metrics_.evictions.SetTotal(cache_->stats().evicted_blocks);
  metrics_.kv_transfer_bytes[TransferDirection::kOut].SetTotal(transfer.bytes_sent);
  metrics_.kv_transfer_bytes[TransferDirection::kIn].SetTotal(transfer.bytes_received);
  metrics_.kv_transfer_failures.SetTotal(transfer.segments_failed + transfer.receives_failed);
  metrics_.kv_checksum_failures.SetTotal(transfer.checksum_failures);
  SetTotals(transfer.fenced_messages, &metrics_.fenced_messages);
  SetTotals(transfer.refused_segments, &metrics_.ticket_rejects);
  feed_(&metrics_);
}

}  // namespace tandem
