// Prints how fast a model file is on this machine: prefill of 512 tokens, and decode at batch 1 and
// 8 after 128 tokens, with 1 and 2 threads. A tool for people, not a test. usage: model_speed
// MODEL.gguf [repeats]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>

#include "common/model/transformer_executor.h"
#include "tests/common/model/layer_watcher.h"
#include "tests/common/model/model_rig.h"

namespace tandem {
namespace {

constexpr int kPrefillTokens = 512;
constexpr int kContext = 128;
constexpr int kDecodeSteps = 32;
constexpr uint32_t kBlocksPerSequence = 32;

double Seconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

StepSequence MakeSequence(uint32_t index, uint32_t start, std::vector<TokenId> tokens,
                          bool sample) {
  StepSequence sequence;
  sequence.key = SequenceKey(index);
  sequence.start = start;
  sequence.tokens = std::move(tokens);
  for (uint32_t b = 0; b < kBlocksPerSequence; ++b) {
    sequence.block_table.push_back(BlockId(index * kBlocksPerSequence + b));
  }
  if (sample) {
    auto params = std::make_shared<SamplingParams>();
    params->temperature = 0;
    sequence.sample = SampleRequest{.params = params, .choice = 0, .output_index = 0, .banned = {}};
  }
  return sequence;
}

void Execute(TransformerExecutor& executor, std::vector<StepSequence> sequences) {
  StepPlan plan;
  plan.sequences = std::move(sequences);
  LayerWatcher watcher;
  const StepDone done = executor.Execute(plan, &watcher);
  if (!done.status.ok()) std::fprintf(stderr, "%s\n", done.status.ToString().c_str());
}

double PrefillSpeed(TransformerExecutor& executor, int vocabulary) {
  const double seconds = Seconds([&] {
    Execute(executor, {MakeSequence(0, 0, MakeTokens(kPrefillTokens, vocabulary, 1), false)});
  });
  return kPrefillTokens / seconds;
}

double DecodeSpeed(TransformerExecutor& executor, int vocabulary, int batch) {
  for (int s = 0; s < batch; ++s) {
    Execute(executor, {MakeSequence(s, 0, MakeTokens(kContext, vocabulary, s), false)});
  }
  const double seconds = Seconds([&] {
    for (int step = 0; step < kDecodeSteps; ++step) {
      std::vector<StepSequence> sequences;
      for (int s = 0; s < batch; ++s) {
        sequences.push_back(MakeSequence(s, kContext + step, {1000 + step * 31 + s}, true));
      }
      Execute(executor, std::move(sequences));
    }
  });
  return batch * kDecodeSteps / seconds;
}

void Report(const ModelFile& file, int threads, int repeats) {
  ModelRig rig = MakeRig(file, {.backend = BackendKind::kAuto,
                                .kv_element = KvElement::kF16,
                                .threads = threads,
                                .max_batch_tokens = kPrefillTokens,
                                .num_blocks = 8 * kBlocksPerSequence});
  TransformerExecutor executor(rig.transformer.get(), rig.team.get());
  const int vocabulary = file.config().vocab_size;
  std::vector<double> prefill, decode1, decode8;
  for (int i = 0; i < repeats; ++i) {
    prefill.push_back(PrefillSpeed(executor, vocabulary));
    decode1.push_back(DecodeSpeed(executor, vocabulary, 1));
    decode8.push_back(DecodeSpeed(executor, vocabulary, 8));
  }
  const auto show = [](const char* what, std::vector<double> values) {
    std::sort(values.begin(), values.end());
    std::printf("  %-10s median %7.1f tokens/s  [%.1f, %.1f]\n", what, values[values.size() / 2],
                values.front(), values.back());
  };
  std::printf("%s, %d thread(s)\n", rig.backend->profile().c_str(), threads);
  show("prefill", prefill);
  show("decode 1", decode1);
  show("decode 8", decode8);
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: model_speed MODEL.gguf [repeats]\n");
    return 2;
  }
  const auto file = tandem::ModelFile::Open(argv[1]);
  if (!file.ok()) {
    std::fprintf(stderr, "%s\n", file.status().ToString().c_str());
    return 1;
  }
  const int repeats = argc > 2 ? std::max(1, std::atoi(argv[2])) : 3;
  for (const int threads : {1, 2}) tandem::Report(**file, threads, repeats);
  return 0;
}
