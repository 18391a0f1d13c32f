#include "router/openai/prepare_request.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/router/openai/tiny_text_model.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TextModel Model(bool chat = true) {
  TextModel model{TinyTokenizer(), std::nullopt};
  if (chat) {
    model.chat_template = *ChatTemplate::Parse(
        "{% for m in messages %}{{ m['role'] }}:{{ m['content'] }}<|end|>{% endfor %}", {});
  }
  return model;
}

CompletionRequest Request(ApiKind kind, const std::string& body) {
  return ParseCompletionRequest(kind, body, 258).value();
}

TEST(PrepareRequestTest, CompletionTakesTextAndTokens) {
  auto prepared = PrepareRequest(
      Request(ApiKind::kCompletion, R"({"prompt":["ab<|end|>",[7]],"seed":5})"), Model(), 100);
  ASSERT_TRUE(prepared.ok());
  EXPECT_THAT(prepared.value().prompts, ElementsAre(ElementsAre('a', 'b', 256), ElementsAre(7)));
  EXPECT_EQ(prepared.value().sampling[0].max_tokens, 16u);
  EXPECT_EQ(prepared.value().sampling[1].seed, 5u);
}

TEST(PrepareRequestTest, DefaultMaxTokensShrinksToTheRoomAndGrowsToMinTokens) {
  auto request = Request(ApiKind::kCompletion, R"({"prompt":"abcd"})");
  EXPECT_EQ(PrepareRequest(request, Model(), 10).value().sampling[0].max_tokens, 6u);
  request.sampling.min_tokens = 40;
  EXPECT_EQ(PrepareRequest(request, Model(), 100).value().sampling[0].max_tokens, 40u);
  EXPECT_EQ(PrepareRequest(request, Model(), 10).error().param, "min_tokens");
}

TEST(PrepareRequestTest, ChatFillsTheRestAndUserTextForgesNoControlToken) {
  auto prepared = PrepareRequest(
      Request(ApiKind::kChat, R"({"messages":[{"role":"u","content":"<|end|>"}]})"), Model(), 100);
  ASSERT_TRUE(prepared.ok());
  const std::vector<TokenId>& prompt = prepared.value().prompts[0];
  EXPECT_THAT(prompt, ElementsAre('u', ':', '<', '|', 'e', 'n', 'd', '|', '>', 256));
  EXPECT_EQ(prepared.value().sampling[0].max_tokens, 90u);
}

TEST(PrepareRequestTest, ToolsThatTheTemplateDoesNotShowAreRefused) {
  const auto chat = [](const std::string& field) {
    return Request(ApiKind::kChat,
                   R"({"messages":[{"role":"u","content":"x"}],")" + field + R"(":[{"a":1}]})");
  };
  EXPECT_EQ(PrepareRequest(chat("tools"), Model(), 100).error().param, "tools");
  EXPECT_EQ(PrepareRequest(chat("documents"), Model(), 100).error().param, "documents");
  TextModel model = Model();
  model.chat_template = *ChatTemplate::Parse("{% if tools %}t{% endif %}{{ documents }}m", {});
  EXPECT_TRUE(PrepareRequest(chat("tools"), model, 100).ok());
  EXPECT_TRUE(PrepareRequest(chat("documents"), model, 100).ok());
}

TEST(PrepareRequestTest, LimitsNameTheField) {
  auto completion = Request(ApiKind::kCompletion, R"({"prompt":"abcd","max_tokens":7})");
  EXPECT_TRUE(PrepareRequest(completion, Model(), 11).ok());
  EXPECT_EQ(PrepareRequest(completion, Model(), 10).error().param, "max_tokens");
  EXPECT_EQ(PrepareRequest(completion, Model(), 4).error().param, "prompt");
  EXPECT_EQ(
      PrepareRequest(Request(ApiKind::kCompletion, R"({"prompt":""})"), Model(), 10).error().param,
      "prompt");
  auto chat = Request(ApiKind::kChat, R"({"messages":[{"role":"u","content":"abcdef"}]})");
  EXPECT_EQ(PrepareRequest(chat, Model(), 5).error().param, "messages");
  EXPECT_THAT(PrepareRequest(chat, Model(false), 100).error().message,
              HasSubstr("no chat template"));
}

TEST(PrepareRequestTest, TemplateRefusalIsTheClientsError) {
  TextModel model{TinyTokenizer(),
                  *ChatTemplate::Parse("{{ raise_exception('roles must alternate') }}", {})};
  auto chat = Request(ApiKind::kChat, R"({"messages":[{"role":"u","content":"x"}]})");
  auto prepared = PrepareRequest(chat, model, 100);
  ASSERT_FALSE(prepared.ok());
  EXPECT_EQ(prepared.error().status, 400);
  EXPECT_THAT(prepared.error().message, HasSubstr("roles must alternate"));
}

}  // namespace
}  // namespace tandem
