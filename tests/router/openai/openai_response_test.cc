#include "router/openai/openai_response.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "router/openai/json_text.h"
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

TEST(OpenaiResponseTest, JsonStringsAreThoseOfTheJsonLibrary) {
  std::string text = "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80 </script>";
  for (int c = 0; c < 0x80; ++c) text.push_back(static_cast<char>(c));
  std::string out = "x";
  AppendJsonString(text, &out);
  EXPECT_EQ(out, "x" + ordered_json(text).dump());
  for (const char* broken : {"\xC3", "a\xFF\xFE", "\xE2\x82", "\xED\xA0\x80z"}) {
    std::string repaired;
    AppendJsonString(broken, &repaired);
    EXPECT_TRUE(ordered_json::accept(repaired)) << repaired;
  }
}

TEST(OpenaiResponseTest, ChunksAreWrittenAsTheJsonLibraryWould) {
  Fixture f;
  const Usage usage{.prompt_tokens = 3, .completion_tokens = 2, .cached_tokens = 1};
  const ordered_json usage_json = {{"prompt_tokens", 3},
                                   {"total_tokens", 5},
                                   {"completion_tokens", 2},
                                   {"prompt_tokens_details", {{"cached_tokens", 1}}}};
  const auto event = [&](const char* id, const char* object, ordered_json choices,
                         bool with_usage) {
    ordered_json json = {
        {"id", id}, {"object", object}, {"created", 5}, {"model", "m"}, {"choices", choices}};
    if (with_usage) json["usage"] = usage_json;
    return "data: " + json.dump() + "\n\n";
  };
  TextPiece piece{"a\"b\n", {7, 8}, {}};
  FinishedChoice by_string{.finish_reason = "stop", .stop_string = "\"", .stop_token = {}};
  FinishedChoice by_token{.finish_reason = "stop", .stop_string = {}, .stop_token = 9};

  std::string out;
  f.chat.AppendRoleChunk(1, &usage, &out);
  EXPECT_EQ(out, event("chatcmpl-1", "chat.completion.chunk",
                       {{{"index", 1},
                         {"delta", {{"role", "assistant"}, {"content", ""}}},
                         {"logprobs", nullptr},
                         {"finish_reason", nullptr}}},
                       true));
  out.clear();
  f.chat.AppendContentChunk({.index = 0, .piece = &piece, .with_token_ids = true}, nullptr, &out);
  EXPECT_EQ(out, event("chatcmpl-1", "chat.completion.chunk",
                       {{{"index", 0},
                         {"delta", {{"content", "a\"b\n"}}},
                         {"logprobs", nullptr},
                         {"finish_reason", nullptr},
                         {"stop_reason", nullptr},
                         {"token_ids", {7, 8}}}},
                       false));
  out.clear();
  f.chat.AppendContentChunk({.index = 0, .finished = &by_string}, &usage, &out);
  EXPECT_EQ(out, event("chatcmpl-1", "chat.completion.chunk",
                       {{{"index", 0},
                         {"delta", ordered_json::object()},
                         {"logprobs", nullptr},
                         {"finish_reason", "stop"},
                         {"stop_reason", "\""}}},
                       true));
  out.clear();
  f.completion.AppendContentChunk({.index = 0, .finished = &by_token}, nullptr, &out);
  EXPECT_EQ(out, event("cmpl-1", "text_completion",
                       {{{"index", 0},
                         {"text", ""},
                         {"logprobs", nullptr},
                         {"finish_reason", "stop"},
                         {"stop_reason", 9}}},
                       false));
  out.clear();
  f.completion.AppendUsageChunk(usage, nullptr, &out);
  EXPECT_EQ(out, event("cmpl-1", "text_completion", ordered_json::array(), true));
}

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
