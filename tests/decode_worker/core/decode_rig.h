// A DecodeCore in virtual time, with a runner whose token is a function of the output's index, and
// a peer played by the test.
#pragma once

#include <algorithm>
#include <optional>
#include <vector>

#include "common/engine/worker_events.h"
#include "common/kv/kv_cache.h"
#include "decode_worker/core/decode_core.h"

namespace tandem {

inline constexpr Incarnation kDecodeLife{7};
inline constexpr Incarnation kPrefillLife{70};
inline constexpr Incarnation kOtherPrefillLife{71};
inline constexpr SessionId kRouter{1};
inline constexpr TokenId kEnd = 2;

class DecodeRig {
 public:
  explicit DecodeRig(uint32_t num_blocks = 64, DecodeCoreOptions options = DefaultOptions())
      : cache_(num_blocks), core_(options, &cache_) {
    Deliver(SessionOpened{kRouter});
  }

  static DecodeCoreOptions DefaultOptions() {
    return {.incarnation = kDecodeLife,
            .end_tokens = {kEnd},
            .max_model_len = 512,
            .max_sequences = 16,
            .expected_output_tokens = 32,
            .step_limits = {.max_batch_tokens = 64, .max_prefill_tokens = 32, .max_sequences = 16}};
  }

  static std::vector<TokenId> Prompt(uint32_t size, TokenId first = 100) {
    std::vector<TokenId> prompt(size);
    for (uint32_t i = 0; i < size; ++i) prompt[i] = first + static_cast<TokenId>(i);
    return prompt;
  }

  static FillAssignment Assignment(uint32_t attempt, Incarnation prefill = kPrefillLife) {
    return {attempt, Nonce{9, attempt}, prefill, std::chrono::seconds(5)};
  }

  void Deliver(WorkerEvent event) {
    core_.Handle(std::move(event), now_, &effects_);
    core_.Advance(now_, Duration{}, &effects_);
  }
  void Send(RouterToWorker message) { Deliver(SessionMessages{kRouter, {std::move(message)}}); }
  void FromPeer(PeerMessage message, Incarnation peer = kPrefillLife) {
    Deliver(TransferEvent(PeerMessageReceived{peer, std::move(message)}));
  }
  void Advance(Duration d) {
    now_ += d;
    core_.Advance(now_, Duration{}, &effects_);
  }

  Generate NewGenerate(uint64_t id, uint32_t prompt_size, uint32_t max_tokens,
                       std::optional<FillAssignment> assignment = std::nullopt) {
    Generate generate{.request = RequestId(id), .trace_id = "r", .epoch = 1};
    generate.prompt = Prompt(prompt_size, 1000 * static_cast<TokenId>(id));
    generate.sampling.max_tokens = max_tokens;
    generate.remaining = std::chrono::seconds(60);
    generate.assignment = assignment;
    return generate;
  }

  // Offers, takes the grant and lands all of it in one chunk; returns the grant.
  Grant OfferAndTakeGrant(uint32_t attempt, uint32_t num_blocks, Incarnation peer = kPrefillLife) {
    FromPeer(Offer{Nonce{9, attempt}, kDecodeLife, num_blocks}, peer);
    return *LastPeerMessage<Grant>();
  }
  void Land(const Grant& grant, uint32_t first, uint32_t count) {
    Deliver(TransferEvent(ChunkVerified{grant.grant, first, count, 0}));
  }

  // Completes the step that runs, if one does. The sampled token of output i is `token_of(i)`.
  bool RunStep(std::function<TokenId(uint32_t)> token_of = [](uint32_t i) {
    return 10 + static_cast<TokenId>(i);
  }) {
    if (effects_.steps.empty()) return false;
    const StepPlan plan = std::move(effects_.steps.front());
    effects_.steps.erase(effects_.steps.begin());
    last_plan_ = plan;
    StepDone done{.step = plan.id};
    for (const StepSequence& sequence : plan.sequences) {
      if (sequence.sample) {
        done.sampled.push_back({sequence.key, token_of(sequence.sample->output_index), {}});
      }
    }
    Deliver(RunnerEvent(std::move(done)));
    return true;
  }
  void RunUntilIdle() {
    for (int i = 0; i < 10000 && RunStep(); ++i) {
    }
  }

  template <class T>
  std::vector<T> Sent() const {
    std::vector<T> found;
    for (const auto& [session, message] : effects_.sends) {
      if (auto* m = std::get_if<T>(&message)) found.push_back(*m);
    }
    return found;
  }
  template <class T>
  std::vector<T> Commands() const {
    std::vector<T> found;
    for (const TransferCommand& command : effects_.transfers) {
      if (auto* c = std::get_if<T>(&command)) found.push_back(*c);
    }
    return found;
  }
  template <class T>
  std::optional<T> LastPeerMessage() const {
    std::optional<T> found;
    for (const auto& sent : Commands<SendPeerMessage>()) {
      if (auto* m = std::get_if<T>(&sent.message)) found = *m;
    }
    return found;
  }
  std::vector<TokenId> Tokens(uint64_t id) const {
    std::vector<TokenId> tokens;
    for (const TokenFrame& frame : Sent<TokenFrame>()) {
      if (frame.request == RequestId(id)) {
        tokens.insert(tokens.end(), frame.tokens.begin(), frame.tokens.end());
      }
    }
    return tokens;
  }
  void Forget() {
    effects_.sends.clear();
    effects_.transfers.clear();
    effects_.notes.clear();
  }
  bool OnlyFreeAndCachedRemain() const {
    cache_.pool().CheckConserved();
    return core_.idle() && cache_.pool().available() == cache_.pool().num_blocks();
  }

  Instant now_{std::chrono::hours(1)};
  KvCache cache_;
  WorkerEffects effects_;
  DecodeCore core_;
  StepPlan last_plan_;
};

}  // namespace tandem
