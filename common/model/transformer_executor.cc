#include "common/model/transformer_executor.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/model/sampler.h"

namespace tandem {
namespace {

// One sequence that wants a token; its place is that of its logit row.
struct Draw {
  const StepSequence* sequence = nullptr;
  absl::Status status;
  SampledToken sampled;
};

int32_t IndexOf(const StepPlan& plan, SequenceKey key) {
  const auto found = std::find_if(plan.sequences.begin(), plan.sequences.end(),
                                  [key](const StepSequence& s) { return s.key == key; });
  TANDEM_CHECK_MSG(found != plan.sequences.end(), "an unwanted sequence is not of this step");
  return static_cast<int32_t>(found - plan.sequences.begin());
}

void DrawToken(absl::Span<const float> logits, Draw& draw) {
  const SampleRequest& request = *draw.sequence->sample;
  absl::StatusOr<SampledChoice> choice =
      SampleToken(logits, *request.params, request.choice, request.output_index, request.banned);
  if (!choice.ok()) {
    draw.status = WithContext(choice.status(), absl::StrCat("sequence ", draw.sequence->key.value(),
                                                            ", output ", request.output_index));
    return;
  }
  draw.sampled = {draw.sequence->key, choice->token, std::move(choice->logprobs)};
}

}  // namespace

StepDone TransformerExecutor::Execute(const StepPlan& plan, StepWatcher* watcher) {
  ForwardBatch batch;
  std::vector<Draw> draws;
  for (const StepSequence& sequence : plan.sequences) {
    const int first_row = batch.AddSequence(sequence.start, sequence.tokens, sequence.block_table);
    if (!sequence.sample) continue;
    batch.logit_rows.push_back(first_row + static_cast<int>(sequence.tokens.size()) - 1);
    draws.push_back({.sequence = &sequence, .status = {}, .sampled = {}});
  }

  StepDone done;
  done.step = plan.id;
  const size_t vocabulary = transformer_.config().vocab_size;
  done.status = transformer_.Forward(
      batch,
      [&](int layer) {
        if (plan.report_layers) transformer_.WaitForKv();
        watcher->OnLayer(layer);
      },
      [&](int first, absl::Span<const float> logits) {
        parallel_.Run(static_cast<int>(logits.size() / vocabulary), [&](int task, int) {
          DrawToken(logits.subspan(task * vocabulary, vocabulary), draws[first + task]);
        });
      },
      [&] {
        std::vector<int32_t> dropped;
        const std::vector<SequenceKey> unwanted = watcher->Unwanted();
        if (unwanted.empty()) return dropped;
        transformer_.WaitForKv();
        for (const SequenceKey key : unwanted) {
          dropped.push_back(IndexOf(plan, key));
          std::erase_if(draws, [key](const Draw& draw) { return draw.sequence->key == key; });
          watcher->OnDropped(key);
        }
        return dropped;
      });
  for (Draw& draw : draws) {
    if (done.status.ok()) done.status = draw.status;
    done.sampled.push_back(std::move(draw.sampled));
  }
  if (!done.status.ok()) done.sampled.clear();
  return done;
}

}  // namespace tandem
