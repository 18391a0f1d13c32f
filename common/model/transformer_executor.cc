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

int32_t IndexOf(const StepPlan& plan, SequenceKey key) {
  const auto found = std::find_if(plan.sequences.begin(), plan.sequences.end(),
                                  [key](const StepSequence& s) { return s.key == key; });
  TANDEM_CHECK_MSG(found != plan.sequences.end(), "an unwanted sequence is not of this step");
  return static_cast<int32_t>(found - plan.sequences.begin());
}

SampledToken DrawToken(absl::Span<const float> logits, const StepSequence& sequence) {
  const SampleRequest& request = *sequence.sample;
  absl::StatusOr<SampledChoice> choice =
      SampleToken(logits, *request.params, request.choice, request.output_index, request.banned);
  SampledToken sampled{.key = sequence.key};
  if (choice.ok()) {
    sampled.token = choice->token;
    sampled.logprobs = std::move(choice->logprobs);
  } else {
    sampled.status = WithContext(choice.status(), absl::StrCat("output ", request.output_index));
  }
  return sampled;
}

}  // namespace

StepDone TransformerExecutor::Execute(const StepPlan& plan, StepWatcher* watcher) {
  ForwardBatch batch;
  std::vector<const StepSequence*> drawing;  // by logit row
  for (const StepSequence& sequence : plan.sequences) {
    const int first_row = batch.AddSequence(sequence.start, sequence.tokens, sequence.block_table);
    if (!sequence.sample) continue;
    batch.logit_rows.push_back(first_row + static_cast<int>(sequence.tokens.size()) - 1);
    drawing.push_back(&sequence);
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
        done.sampled.resize(drawing.size());
        parallel_.Run(static_cast<int>(logits.size() / vocabulary), [&](int task, int) {
          done.sampled[first + task] =
              DrawToken(logits.subspan(task * vocabulary, vocabulary), *drawing[first + task]);
        });
      },
      [&] {
        std::vector<int32_t> dropped;
        const std::vector<SequenceKey> unwanted = watcher->Unwanted();
        if (unwanted.empty()) return dropped;
        transformer_.WaitForKv();
        for (const SequenceKey key : unwanted) {
          dropped.push_back(IndexOf(plan, key));
          std::erase_if(drawing, [key](const StepSequence* s) { return s->key == key; });
          watcher->OnDropped(key);
        }
        return dropped;
      });
  return done;
}

}  // namespace tandem
