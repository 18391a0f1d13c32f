// A prefill and a decode worker in one thread, with production cores, transfer engines and a small
// random model: what was pushed equals what the decode worker would have computed, byte for byte
// and token for token.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>

#include "decode_worker/core/decode_core.h"
#include "prefill_worker/core/prefill_core.h"
#include "tests/cluster/worker_node.h"
#include "tests/common/weights/tiny_model.h"

namespace tandem {
namespace {

constexpr SessionId kRouter{1};
constexpr Incarnation kPrefillLife{11};
constexpr Incarnation kDecodeLife{22};
constexpr uint32_t kBlocks = 96;

struct Outcome {
  std::vector<TokenId> tokens;
  std::vector<std::vector<std::byte>> prompt_kv;  // by block, all layers
  DecodeTimings timings;
};

class PushParityTest : public ::testing::TestWithParam<uint32_t> {
 protected:
  static void SetUpTestSuite() {
    path_ = std::filesystem::path(::testing::TempDir()) /
            ("tandem-push-parity-" + std::to_string(getpid()) + ".gguf");
    ASSERT_TRUE(WriteTinyModel(path_, {.layers = 3, .context = 1024}).ok());
  }
  static void TearDownTestSuite() { std::filesystem::remove(path_); }

  std::unique_ptr<WorkerNode> NewNode(Incarnation life) {
    auto model =
        OpenModel({.path = path_, .threads = 1, .max_batch_tokens = 512, .num_blocks = kBlocks});
    EXPECT_TRUE(model.ok()) << model.status();
    return std::make_unique<WorkerNode>(std::move(model).value(),
                                        std::make_unique<LoopbackTransport>(hub_), life);
  }

  // Serves one prompt; `chunk` 0: the decode worker fills by itself.
  Outcome ServeOne(const std::vector<TokenId>& prompt, uint32_t chunk) {
    auto decode = NewNode(kDecodeLife);
    auto prefill = NewNode(kPrefillLife);
    decode->Run(std::make_unique<DecodeCore>(
        DecodeCoreOptions{.incarnation = kDecodeLife,
                          .max_model_len = 1024,
                          .step_limits = {.max_batch_tokens = 512, .max_prefill_tokens = 512}},
        &decode->cache));
    prefill->Run(std::make_unique<PrefillCore>(
        PrefillCoreOptions{.num_layers = 3,
                           .block_layer_bytes = prefill->model().arena->bytes_per_block_layer(),
                           .chunk_tokens = chunk == 0 ? 512 : chunk,
                           .max_model_len = 1024},
        &prefill->cache));
    decode->Deliver(SessionOpened{kRouter});
    prefill->Deliver(SessionOpened{kRouter});
    Generate generate{.request = RequestId(1),
                      .epoch = 1,
                      .prompt = prompt,
                      .remaining = std::chrono::seconds(60)};
    generate.sampling.temperature = 0;
    generate.sampling.max_tokens = 20;
    if (chunk > 0) {
      generate.assignment = FillAssignment{1, Nonce{5, 5}, kPrefillLife, std::chrono::seconds(5)};
      prefill->Deliver(SessionMessages{kRouter,
                                       {PrefillJob{.request = RequestId(1),
                                                   .epoch = 1,
                                                   .attempt = 1,
                                                   .nonce = Nonce{5, 5},
                                                   .tokens = prompt,
                                                   .decode_address = decode->address(),
                                                   .decode = kDecodeLife,
                                                   .remaining = std::chrono::seconds(60)}}});
    }
    decode->Deliver(SessionMessages{kRouter, {generate}});

    Outcome outcome;
    const Instant now{std::chrono::hours(1)};
    bool finished = false;
    for (int turn = 0; turn < 10000 && !finished; ++turn) {
      std::vector<WorkerToRouter> sent;
      prefill->Turn(now, &sent);
      decode->Turn(now, &sent);
      for (const WorkerToRouter& message : sent) {
        const auto* frame = std::get_if<TokenFrame>(&message);
        if (frame == nullptr) continue;
        outcome.tokens.insert(outcome.tokens.end(), frame->tokens.begin(), frame->tokens.end());
        if (frame->finish) {
          finished = true;
          outcome.timings = frame->finish->timings;
        }
      }
    }
    EXPECT_TRUE(finished);
    const auto& table = decode->plans.back().sequences[0].block_table;
    for (uint32_t block = 0; block < SharableBlocks(prompt.size()); ++block) {
      std::vector<std::byte> bytes;
      for (uint32_t layer = 0; layer < 3; ++layer) {
        const auto run = decode->model().arena->Run(layer, table[block], 1);
        bytes.insert(bytes.end(), run.begin(), run.end());
      }
      outcome.prompt_kv.push_back(std::move(bytes));
    }
    return outcome;
  }

  static std::string path_;
  std::shared_ptr<LoopbackHub> hub_ = std::make_shared<LoopbackHub>();
};

std::string PushParityTest::path_;

TEST_P(PushParityTest, PushedBlocksAndTokensEqualLocallyComputedOnes) {
  for (const uint32_t size : {1u, 16u, 17u, 33u, 200u, 600u}) {
    std::vector<TokenId> prompt(size);
    for (uint32_t i = 0; i < size; ++i) prompt[i] = static_cast<TokenId>(3 + (i * 37 + size) % 250);
    const Outcome own = ServeOne(prompt, 0);
    const Outcome pushed = ServeOne(prompt, GetParam());
    EXPECT_EQ(own.timings.pushed_tokens, 0u);
    EXPECT_EQ(pushed.timings.pushed_tokens, SharableBlocks(size) * kBlockTokens);
    EXPECT_THAT(own.tokens, ::testing::SizeIs(20));
    EXPECT_EQ(pushed.tokens, own.tokens) << size;
    EXPECT_TRUE(pushed.prompt_kv == own.prompt_kv) << size;
  }
}

INSTANTIATE_TEST_SUITE_P(Chunks, PushParityTest, ::testing::Values(16u, 512u));

}  // namespace
}  // namespace tandem
