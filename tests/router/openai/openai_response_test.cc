#include "router/openai/openai_response.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/router/openai/tiny_text_model.h"

namespace tandem {
namespace {

using nlohmann::ordered_json;

TEST(OpenaiResponseTest, ErrorBodyHasTheNestedForm) {
  EXPECT_EQ(ErrorBody({400, "bad \"x\"", "x", {}}),
            R"({"error":{"message":"bad \"x\"","type":"BadRequestError","param":"x","code":400}})");
  EXPECT_EQ(ErrorBody({503, "later", "", {}}),
            R"({"error":{"message":"later","type":"ServiceUnavailable","param":null,"code":503}})");
  EXPECT_NO_FATAL_FAILURE(ErrorBody({400, "\xff\xfe", "", {}}));
}

TEST(OpenaiResponseTest, StreamErrorsMapToStatuses) {
  const std::pair<StreamErrorKind, int> cases[] = {
      {StreamErrorKind::kOverloaded, 429}, {StreamErrorKind::kNoWorker, 503},
      {StreamErrorKind::kDeadline, 504},   {StreamErrorKind::kInvalid, 400},
      {StreamErrorKind::kInternal, 500},   {StreamErrorKind::kCancelled, 499}};
  for (const auto& [kind, status] : cases) EXPECT_EQ(ToApiError({kind, "m", {}}).status, status);
}

TEST(OpenaiResponseTest, ModelCardHasWhatHarnessesRead) {
  const auto json = ordered_json::parse(ModelsBody("m", 5, 2048));
  EXPECT_EQ(json["object"], "list");
  const auto& card = json["data"][0];
  EXPECT_EQ(card["id"], "m");
  EXPECT_EQ(card["root"], "m");
  EXPECT_EQ(card["object"], "model");
  EXPECT_EQ(card["max_model_len"], 2048);
  EXPECT_TRUE(card["permission"].is_array());
  EXPECT_EQ(ordered_json::parse(ModelBody("m", 5, 2048)), card);
}

TEST(OpenaiResponseTest, SmallBodies) {
  EXPECT_EQ(TokenizeBody({1, 2}, 9), R"({"count":2,"max_model_len":9,"tokens":[1,2]})");
  EXPECT_EQ(DetokenizeBody("a"), R"({"prompt":"a"})");
  EXPECT_EQ(VersionBody("1"), R"({"version":"1"})");
}

struct Fixture {
  Tokenizer tokenizer = TinyTokenizer();
  AnswerWriter chat{{ApiKind::kChat, "chatcmpl-1", "m", 5}, tokenizer};
  AnswerWriter completion{{ApiKind::kCompletion, "cmpl-1", "m", 5}, tokenizer};
};

TEST(OpenaiResponseTest, ChatLogprobsHaveTokensAndBytes) {
  Fixture f;
  TextPiece piece{"a", {'a'}, {{{'a', -0.5f}, {{'b', -1.0f}, {0xC3, -HUGE_VALF}}}}};
  std::string event;
  f.chat.AppendContentChunk({.index = 0, .piece = &piece, .with_logprobs = true}, nullptr, &event);
  ASSERT_EQ(event.substr(0, 6), "data: ");
  ASSERT_EQ(event.substr(event.size() - 2), "\n\n");
  const auto json = ordered_json::parse(event.substr(6));
  EXPECT_EQ(json["choices"][0]["logprobs"].dump(),
            R"({"content":[{"token":"a","logprob":-0.5,"bytes":[97],"top_logprobs":[)"
            R"({"token":"b","logprob":-1.0,"bytes":[98]},)"
            "{\"token\":\"\xEF\xBF\xBD\",\"logprob\":-9999.0,\"bytes\":[195]}]}]}");
}

TEST(OpenaiResponseTest, CompletionLogprobsHaveOffsets) {
  Fixture f;
  TextPiece piece{
      "ahello", {'a', kTinyHello}, {{{'a', -0.5f}, {}}, {{kTinyHello, -1.5f}, {{'x', -0.1f}}}}};
  std::string event;
  f.completion.AppendContentChunk(
      {.index = 0, .piece = &piece, .text_offset = 10, .with_logprobs = true}, nullptr, &event);
  const auto json = ordered_json::parse(event.substr(6));
  EXPECT_EQ(json["choices"][0]["logprobs"]["text_offset"], ordered_json({10, 11}));
  EXPECT_EQ(json["choices"][0]["logprobs"]["tokens"], ordered_json({"a", "hello"}));
  EXPECT_EQ(json["choices"][0]["logprobs"]["token_logprobs"], ordered_json({-0.5, -1.5}));
  EXPECT_EQ(json["choices"][0]["logprobs"]["top_logprobs"][0]["a"], -0.5);
  EXPECT_EQ(json["choices"][0]["logprobs"]["top_logprobs"][1]["hello"], -1.5);
}

}  // namespace
}  // namespace tandem
