// InstantEngine stands in for a worker's model: a step takes no time, or a set pace, and a token is
// a hash of what came before it. KV is written by nobody and read by nobody, so it measures what is
// around a model, never a model.
// Used by the runner's thread alone.
#pragma once

#include <thread>
#include <utility>
#include <vector>

#include "common/base/clock.h"
#include "common/model/step_executor.h"
#include "common/weights/tokenizer_data.h"

namespace tandem::bench {

class InstantEngine final : public StepExecutor {
 public:
  // `pace`: the time from one step's end to the next one's, at least; zero: none.
  InstantEngine(const TokenizerData& tokenizer, uint32_t num_layers, Duration pace)
      : words_(Words(tokenizer)), num_layers_(num_layers), pace_(pace) {}

  StepDone Execute(const StepPlan& plan, StepWatcher* watcher) override {
    Wait();
    for (uint32_t layer = 0; layer < num_layers_; ++layer) watcher->OnLayer(layer);
    StepDone done;
    for (const StepSequence& sequence : plan.sequences) {
      if (!sequence.sample.has_value()) continue;
      SampledToken sampled;
      sampled.key = sequence.key;
      sampled.token = NextToken(sequence.tokens.back(), sequence.sample->output_index);
      if (sequence.sample->params->top_logprobs >= 0) {
        sampled.logprobs = OutputLogprobs{.chosen = {sampled.token, -1.0f}, .top = {}};
      }
      done.sampled.push_back(std::move(sampled));
    }
    return done;
  }

 private:
  // Ordinary words in ASCII: each token is one event of a stream, and none ends it.
  static std::vector<TokenId> Words(const TokenizerData& tokenizer) {
    std::vector<TokenId> words;
    for (size_t i = 0; i < tokenizer.tokens.size(); ++i) {
      const std::string& text = tokenizer.tokens[i];
      bool word = tokenizer.types[i] == TokenType::kNormal && text.size() > 3;
      for (const char c : text) word = word && c >= 'a' && c <= 'z';
      if (word) words.push_back(static_cast<TokenId>(i));
    }
    return words;
  }

  TokenId NextToken(TokenId last, uint32_t index) const {
    uint64_t x = (uint64_t{index} << 32) + static_cast<uint32_t>(last);
    x = (x ^ (x >> 29)) * 0xbf58476d1ce4e5b9;
    return words_[(x >> 32) % words_.size()];
  }

  void Wait() {
    if (pace_ == Duration::zero()) return;
    const Instant now = SystemClock().Now();
    if (next_ > now) std::this_thread::sleep_until(next_);
    next_ = std::max(now, next_) + pace_;
  }

  const std::vector<TokenId> words_;
  const uint32_t num_layers_;
  const Duration pace_;
  Instant next_{};
};

}  // namespace tandem::bench
