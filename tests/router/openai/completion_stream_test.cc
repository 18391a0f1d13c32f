#include "router/openai/completion_stream.h"

#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/router/openai/tiny_text_model.h"

namespace tandem {
namespace {

using nlohmann::ordered_json;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<TokenId> Bytes(absl::string_view text) {
  std::vector<TokenId> tokens;
  for (const char c : text) tokens.push_back(static_cast<uint8_t>(c));
  return tokens;
}

// Splits bytes into events the way strict clients do.
std::vector<std::string> Events(absl::string_view bytes) {
  std::vector<std::string> events;
  EXPECT_TRUE(bytes.empty() || absl::EndsWith(bytes, "\n\n"));
  for (absl::string_view event : absl::StrSplit(bytes, "\n\n", absl::SkipEmpty())) {
    EXPECT_TRUE(absl::ConsumePrefix(&event, "data: "));
    events.emplace_back(event);
  }
  return events;
}

struct Harness {
  explicit Harness(ApiKind kind, AnswerOptions options, size_t choices = 1)
      : stream({kind, "id", "m", 5}, std::move(options), std::vector<uint32_t>(choices, 10),
               tokenizer) {}
  CompletionStream::Output Tokens(const std::vector<TokenId>& tokens, size_t choice = 0) {
    auto output = stream.OnTokens(choice, tokens, {});
    sent += output.bytes;
    return output;
  }
  void End(FinishReason reason, std::optional<TokenId> stop_token = {}, size_t choice = 0) {
    EndStream end;
    end.reason = reason;
    end.stop_token = stop_token;
    end.timings.cached_tokens = 4;
    sent += stream.OnEnd(choice, end).bytes;
  }
  void Error(StreamErrorKind kind) {
    EndStream end;
    end.reason = FinishReason::kError;
    end.error = StreamError{kind, "gone", {}};
    sent += stream.OnEnd(0, end).bytes;
  }
  const Tokenizer tokenizer = TinyTokenizer();
  CompletionStream stream;
  std::string sent;
};

TEST(CompletionStreamTest, ChatStreamHasTheApisChunkOrder) {
  Harness h(ApiKind::kChat, {.stream = true, .include_usage = true, .timings = true});
  EXPECT_THAT(h.sent, IsEmpty());  // the role leaves with the first token
  h.Tokens({'h'});
  EXPECT_EQ(Events(h.sent).size(), 2u);
  h.Tokens({'i'});
  h.End(FinishReason::kLength);
  EXPECT_TRUE(h.stream.done());
  const auto events = Events(h.sent);
  ASSERT_EQ(events.size(), 6u);
  const auto role = ordered_json::parse(events[0]);
  EXPECT_EQ(role["object"], "chat.completion.chunk");
  EXPECT_EQ(role["choices"][0]["delta"].dump(), R"({"role":"assistant","content":""})");
  EXPECT_FALSE(role.contains("usage"));
  const auto content = ordered_json::parse(events[1]);
  EXPECT_EQ(content["choices"][0]["delta"].dump(), R"({"content":"h"})");
  EXPECT_TRUE(content["choices"][0]["finish_reason"].is_null());
  const auto finish = ordered_json::parse(events[3]);
  EXPECT_EQ(finish["choices"][0]["delta"].dump(), "{}");
  EXPECT_EQ(finish["choices"][0]["finish_reason"], "length");
  const auto usage = ordered_json::parse(events[4]);
  EXPECT_EQ(usage["choices"].size(), 0u);
  EXPECT_EQ(usage["usage"].dump(), R"({"prompt_tokens":10,"total_tokens":12,"completion_tokens":2,)"
                                   R"("prompt_tokens_details":{"cached_tokens":4}})");
  EXPECT_TRUE(usage["timings"].is_object());
  EXPECT_EQ(events[5], "[DONE]");
  for (int i = 0; i < 5; ++i) {
    const auto json = ordered_json::parse(events[i]);
    EXPECT_EQ(json["id"], "id");
    EXPECT_EQ(json["created"], 5);
    EXPECT_EQ(json["model"], "m");
  }
}

TEST(CompletionStreamTest, CompletionStreamWithoutUsageEndsWithDone) {
  Harness h(ApiKind::kCompletion, {.stream = true});
  h.Tokens({'h', 'i'});
  h.End(FinishReason::kStop);
  const auto events = Events(h.sent);
  ASSERT_EQ(events.size(), 4u);  // one token a chunk
  const auto first = ordered_json::parse(events[0]);
  EXPECT_EQ(first["object"], "text_completion");
  EXPECT_EQ(first["choices"][0]["text"], "h");
  const auto finish = ordered_json::parse(events[2]);
  EXPECT_EQ(finish["choices"][0]["text"], "");
  EXPECT_EQ(finish["choices"][0]["finish_reason"], "stop");
  EXPECT_TRUE(finish["choices"][0]["stop_reason"].is_null());
  EXPECT_EQ(events[3], "[DONE]");
}

TEST(CompletionStreamTest, ContinuousUsageIsInEveryChunk) {
  Harness h(ApiKind::kChat, {.stream = true, .include_usage = true, .continuous_usage = true});
  h.Tokens({'a'});
  h.Tokens({'b'});
  h.End(FinishReason::kStop);
  const auto events = Events(h.sent);
  for (size_t i = 0; i + 1 < events.size(); ++i) {
    EXPECT_TRUE(ordered_json::parse(events[i]).contains("usage")) << events[i];
  }
  EXPECT_EQ(ordered_json::parse(events[2])["usage"]["completion_tokens"], 2);
}

TEST(CompletionStreamTest, CharactersOverSeveralTokensComeOutWhole) {
  Harness h(ApiKind::kCompletion, {.stream = true, .return_token_ids = true});
  const std::vector<TokenId> bytes = Bytes("é€");
  for (TokenId t : bytes) h.Tokens({t});
  h.End(FinishReason::kLength);
  const auto events = Events(h.sent);
  ASSERT_EQ(events.size(), 4u);
  EXPECT_EQ(ordered_json::parse(events[0])["choices"][0]["text"], "é");
  EXPECT_EQ(ordered_json::parse(events[0])["choices"][0]["token_ids"].size(), 2u);
  EXPECT_EQ(ordered_json::parse(events[1])["choices"][0]["text"], "€");
  EXPECT_EQ(h.stream.usage().completion_tokens, 5u);
}

TEST(CompletionStreamTest, UnfinishedCharacterIsReplacedAtTheEnd) {
  Harness h(ApiKind::kCompletion, {.stream = false});
  h.Tokens(Bytes("a\xE2\x82"));
  h.End(FinishReason::kLength);
  EXPECT_EQ(ordered_json::parse(h.sent)["choices"][0]["text"], "a\xEF\xBF\xBD");
}

TEST(CompletionStreamTest, StopStringAcrossTokensEndsTheText) {
  Harness h(ApiKind::kCompletion, {.stream = true, .stop = {"END"}});
  EXPECT_FALSE(h.Tokens(Bytes("ab")).stop_matched);
  EXPECT_FALSE(h.Tokens(Bytes("EN")).stop_matched);
  EXPECT_TRUE(h.Tokens(Bytes("Dxy")).stop_matched);
  EXPECT_THAT(h.Tokens(Bytes("more")).bytes, IsEmpty());
  h.End(FinishReason::kStop);
  std::string text;
  ordered_json last;
  for (const std::string& event : Events(h.sent)) {
    if (event == "[DONE]") continue;
    last = ordered_json::parse(event);
    text += last["choices"][0]["text"];
  }
  EXPECT_EQ(text, "ab");
  EXPECT_EQ(last["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(last["choices"][0]["stop_reason"], "END");
  EXPECT_EQ(h.stream.usage().completion_tokens, 5u);  // "abEND"
}

TEST(CompletionStreamTest, HeldBackStopPrefixIsSentWhenTheStreamEndsOtherwise) {
  Harness h(ApiKind::kChat, {.stream = false, .stop = {"END"}});
  h.Tokens(Bytes("abEN"));
  h.End(FinishReason::kLength);
  const auto json = ordered_json::parse(h.sent);
  EXPECT_EQ(json["object"], "chat.completion");
  EXPECT_EQ(json["choices"][0]["message"].dump(), R"({"role":"assistant","content":"abEN"})");
  EXPECT_EQ(json["choices"][0]["finish_reason"], "length");
}

TEST(CompletionStreamTest, StopMatchWinsOverTheWorkersFinish) {
  Harness h(ApiKind::kCompletion, {.stream = false, .include_stop = true, .stop = {"!"}});
  EXPECT_TRUE(h.Tokens(Bytes("a!")).stop_matched);
  h.End(FinishReason::kLength);
  const auto json = ordered_json::parse(h.sent);
  EXPECT_EQ(json["choices"][0]["text"], "a!");
  EXPECT_EQ(json["choices"][0]["finish_reason"], "stop");
}

TEST(CompletionStreamTest, StopTokenIsTheStopReason) {
  Harness h(ApiKind::kCompletion, {.stream = false});
  h.Tokens(Bytes("a"));
  h.End(FinishReason::kStop, 7);
  EXPECT_EQ(ordered_json::parse(h.sent)["choices"][0]["stop_reason"], 7);
}

TEST(CompletionStreamTest, EmptyAnswerIsStillAWholeStream) {
  Harness h(ApiKind::kChat, {.stream = true});
  h.End(FinishReason::kStop);
  const auto events = Events(h.sent);
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(ordered_json::parse(events[0])["choices"][0]["delta"]["role"], "assistant");
  EXPECT_EQ(events[2], "[DONE]");
}

TEST(CompletionStreamTest, ErrorBeforeTheFirstByteIsLeftToHttp) {
  Harness h(ApiKind::kChat, {.stream = true});
  h.Error(StreamErrorKind::kOverloaded);
  EXPECT_TRUE(h.stream.done());
  EXPECT_FALSE(h.stream.started());
  EXPECT_THAT(h.sent, IsEmpty());
  EXPECT_EQ(h.stream.error()->status, 429);
}

TEST(CompletionStreamTest, ErrorAfterTheFirstByteIsAnEventThenDone) {
  Harness h(ApiKind::kChat, {.stream = true});
  h.Tokens({'a'});
  h.Error(StreamErrorKind::kNoWorker);
  const auto events = Events(h.sent);
  ASSERT_EQ(events.size(), 4u);
  EXPECT_EQ(ordered_json::parse(events[2])["error"]["code"], 503);
  EXPECT_EQ(events[3], "[DONE]");
}

TEST(CompletionStreamTest, SeveralPromptsAreSeveralChoices) {
  Harness h(ApiKind::kCompletion, {.stream = false}, 2);
  h.Tokens(Bytes("b"), 1);
  h.Tokens(Bytes("a"), 0);
  h.End(FinishReason::kStop, {}, 1);
  EXPECT_FALSE(h.stream.done());
  h.End(FinishReason::kLength, {}, 0);
  const auto json = ordered_json::parse(h.sent);
  EXPECT_EQ(json["choices"][0]["text"], "a");
  EXPECT_EQ(json["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(json["choices"][1]["text"], "b");
  EXPECT_EQ(json["usage"]["prompt_tokens"], 20);
  EXPECT_EQ(json["usage"]["completion_tokens"], 2);
}

TEST(CompletionStreamTest, HeldTokensLogprobsComeWithTheirText) {
  Harness h(ApiKind::kChat, {.stream = true, .logprobs = true});
  const std::vector<TokenId> bytes = Bytes("é");
  std::string sent;
  for (TokenId t : bytes) sent += h.stream.OnTokens(0, {t}, {OutputLogprobs{{t, -1}, {}}}).bytes;
  const auto events = Events(sent);
  ASSERT_EQ(events.size(), 2u);  // role, then both tokens
  EXPECT_EQ(ordered_json::parse(events[1])["choices"][0]["logprobs"]["content"].size(), 2u);
}

}  // namespace
}  // namespace tandem
