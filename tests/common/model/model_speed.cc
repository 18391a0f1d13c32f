// Prints how fast a model file is on this machine: prefill, and decode at batch 1 and 8, with 1 and
// 2 threads. Speeds are by wall clock; with one thread also the best by processor time, which other
// programs on the same cores disturb less. A tool for people, not a test.
// usage: model_speed MODEL.gguf [repeats] [prefill tokens] [context] [avx2]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <optional>

#include "common/model/transformer_executor.h"
#include "tests/common/model/layer_watcher.h"
#include "tests/common/model/model_rig.h"

namespace tandem {
namespace {

constexpr int kChunk = 512;  // tokens of a prefill step
constexpr int kDecodeSteps = 128;
constexpr int kLargestBatch = 8;

struct Options {
  int repeats = 3;
  int prefill_tokens = 512;
  int context = 128;  // before the first decoded token
  bool avx2 = false;  // although the processor may have more

  uint32_t blocks_each() const { return std::max(prefill_tokens, context + kDecodeSteps) / 16 + 1; }
};
Options options;

struct Speed {
  double wall;       // tokens per second
  double processor;  // tokens per second of processor time
};

double Now(clockid_t clock) {
  timespec time;
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

Speed Measure(int tokens, const std::function<void()>& work) {
  const double wall = Now(CLOCK_MONOTONIC), processor = Now(CLOCK_PROCESS_CPUTIME_ID);
  work();
  return {tokens / (Now(CLOCK_MONOTONIC) - wall),
          tokens / (Now(CLOCK_PROCESS_CPUTIME_ID) - processor)};
}

StepSequence MakeSequence(uint32_t index, uint32_t start, std::vector<TokenId> tokens,
                          bool sample) {
  StepSequence sequence;
  sequence.key = SequenceKey(index);
  sequence.start = start;
  sequence.tokens = std::move(tokens);
  for (uint32_t b = 0; b < options.blocks_each(); ++b) {
    sequence.block_table.push_back(BlockId(index * options.blocks_each() + b));
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

Speed PrefillSpeed(TransformerExecutor& executor, int vocabulary) {
  const auto tokens = MakeTokens(options.prefill_tokens, vocabulary, 1);
  return Measure(options.prefill_tokens, [&] {
    for (int start = 0; start < options.prefill_tokens; start += kChunk) {
      const int end = std::min(start + kChunk, options.prefill_tokens);
      Execute(executor,
              {MakeSequence(0, start, {tokens.begin() + start, tokens.begin() + end}, false)});
    }
  });
}

Speed DecodeSpeed(TransformerExecutor& executor, int vocabulary, int batch) {
  const auto tokens = MakeTokens(options.context, vocabulary, 2);
  for (int s = 0; s < batch; ++s) {
    for (int start = 0; start < options.context; start += kChunk) {
      const int end = std::min(start + kChunk, options.context);
      Execute(executor,
              {MakeSequence(s, start, {tokens.begin() + start, tokens.begin() + end}, false)});
    }
  }
  return Measure(batch * kDecodeSteps, [&] {
    for (int step = 0; step < kDecodeSteps; ++step) {
      std::vector<StepSequence> sequences;
      for (int s = 0; s < batch; ++s) {
        sequences.push_back(MakeSequence(s, options.context + step, {1000 + step * 31 + s}, true));
      }
      Execute(executor, std::move(sequences));
    }
  });
}

void Show(const char* what, int threads, const std::vector<Speed>& speeds) {
  std::vector<double> walls;
  double best = 0;
  for (const Speed& speed : speeds) {
    walls.push_back(speed.wall);
    best = std::max(best, speed.processor);
  }
  std::sort(walls.begin(), walls.end());
  std::printf("  %-10s median %7.1f tokens/s  [%.1f, %.1f]", what, walls[walls.size() / 2],
              walls.front(), walls.back());
  if (threads == 1) std::printf("  best by processor time %.1f", best);
  std::printf("\n");
}

void Report(const ModelFile& file, int threads) {
  ModelRig rig = MakeRig(file, {.backend = BackendKind::kAuto,
                                .isa = options.avx2 ? std::optional(CpuIsa::kAvx2) : std::nullopt,
                                .kv_element = KvElement::kF16,
                                .threads = threads,
                                .max_batch_tokens = kChunk,
                                .num_blocks = kLargestBatch * options.blocks_each()});
  TransformerExecutor executor(rig.transformer.get(), rig.team.get());
  const int vocabulary = file.config().vocab_size;
  std::vector<Speed> prefill, decode1, decode8;
  for (int i = 0; i < options.repeats; ++i) {
    prefill.push_back(PrefillSpeed(executor, vocabulary));
    decode1.push_back(DecodeSpeed(executor, vocabulary, 1));
    decode8.push_back(DecodeSpeed(executor, vocabulary, kLargestBatch));
  }
  std::printf("%s, %d thread(s), prefill %d, decode after %d\n", rig.backend->profile().c_str(),
              threads, options.prefill_tokens, options.context);
  Show("prefill", threads, prefill);
  Show("decode 1", threads, decode1);
  Show("decode 8", threads, decode8);
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr,
                 "usage: model_speed MODEL.gguf [repeats] [prefill tokens] [context] [avx2]\n");
    return 2;
  }
  const auto file = tandem::ModelFile::Open(argv[1]);
  if (!file.ok()) {
    std::fprintf(stderr, "%s\n", file.status().ToString().c_str());
    return 1;
  }
  if (argc > 2) tandem::options.repeats = std::max(1, std::atoi(argv[2]));
  if (argc > 3) tandem::options.prefill_tokens = std::max(1, std::atoi(argv[3]));
  if (argc > 4) tandem::options.context = std::max(1, std::atoi(argv[4]));
  tandem::options.avx2 = argc > 5 && std::strcmp(argv[5], "avx2") == 0;
  for (const int threads : {1, 2}) tandem::Report(**file, threads);
  return 0;
}
