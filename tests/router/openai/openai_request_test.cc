#include "router/openai/openai_request.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr size_t kVocab = 1000;

Parsed<CompletionRequest> Completion(const std::string& body) {
  return ParseCompletionRequest(ApiKind::kCompletion, body, kVocab);
}
Parsed<CompletionRequest> Chat(const std::string& body) {
  return ParseCompletionRequest(ApiKind::kChat, body, kVocab);
}
// A body that is valid but for `fields`.
std::string With(const std::string& fields) {
  return absl::StrCat(R"({"prompt":"hi",)", fields, "}");
}
std::string ChatWith(const std::string& fields) {
  return absl::StrCat(R"({"messages":[{"role":"user","content":"hi"}],)", fields, "}");
}

TEST(OpenaiRequestTest, DefaultsAreTheApis) {
  auto parsed = Completion(R"({"prompt":"hi"})");
  ASSERT_TRUE(parsed.ok());
  const CompletionRequest& r = parsed.value();
  EXPECT_FALSE(r.model.has_value());
  EXPECT_FALSE(r.max_tokens.has_value());
  EXPECT_FALSE(r.seed.has_value());
  EXPECT_EQ(r.sampling.temperature, 1);
  EXPECT_EQ(r.sampling.top_p, 1);
  EXPECT_EQ(r.sampling.top_k, 0);
  EXPECT_FALSE(r.wants_logprobs());
  EXPECT_FALSE(r.stream);
  EXPECT_TRUE(r.skip_special_tokens);
  EXPECT_EQ(std::get<std::string>(r.prompts.at(0)), "hi");
}

TEST(OpenaiRequestTest, ReadsEveryField) {
  auto parsed = Completion(R"({"model":"m","prompt":[1,2,3],"max_tokens":7,"min_tokens":2,
    "temperature":0.5,"top_p":0.25,"top_k":-1,"seed":-5,"stop":["a","b"],"stop_token_ids":[9],
    "ignore_eos":true,"logprobs":3,"stream":true,
    "stream_options":{"include_usage":true,"continuous_usage_stats":true},
    "include_stop_str_in_output":true,"skip_special_tokens":false,"return_token_ids":true,
    "tandem_timings":true,"cache_salt":"s","user":"u","some_vendor_field":{"x":[1]},
    "n":1,"best_of":1,"echo":false,"suffix":null,"presence_penalty":0,"repetition_penalty":1.0,
    "logit_bias":{},"response_format":{"type":"text"}})");
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  const CompletionRequest& r = parsed.value();
  EXPECT_EQ(r.model, "m");
  EXPECT_THAT(std::get<std::vector<TokenId>>(r.prompts.at(0)), ElementsAre(1, 2, 3));
  EXPECT_EQ(r.max_tokens, 7u);
  EXPECT_EQ(r.sampling.min_tokens, 2u);
  EXPECT_EQ(r.sampling.temperature, 0.5f);
  EXPECT_EQ(r.sampling.top_p, 0.25f);
  EXPECT_EQ(r.sampling.top_k, 0);
  EXPECT_EQ(r.seed, static_cast<uint64_t>(int64_t{-5}));
  EXPECT_THAT(r.stop, ElementsAre("a", "b"));
  EXPECT_THAT(r.sampling.stop_token_ids, ElementsAre(9));
  EXPECT_TRUE(r.sampling.ignore_eos);
  EXPECT_EQ(r.sampling.top_logprobs, 3);
  EXPECT_TRUE(r.stream && r.include_usage && r.continuous_usage);
  EXPECT_TRUE(r.include_stop && r.return_token_ids && r.timings);
  EXPECT_FALSE(r.skip_special_tokens);
  EXPECT_EQ(r.cache_salt, "s");
}

TEST(OpenaiRequestTest, NullIsAbsent) {
  EXPECT_TRUE(Completion(With(R"("model":null,"max_tokens":null,"temperature":null,"top_p":null,
    "top_k":null,"seed":null,"stop":null,"logprobs":null,"n":null,"stream":null,
    "stream_options":null,"response_format":null,"echo":null,"suffix":null,"logit_bias":null,
    "prompt_logprobs":null,"stop_token_ids":null,"ignore_eos":null)"))
                  .ok());
  EXPECT_TRUE(Chat(ChatWith(R"("tools":null,"tool_choice":null,"top_logprobs":null,
    "max_completion_tokens":null,"chat_template_kwargs":null)"))
                  .ok());
}

TEST(OpenaiRequestTest, PromptTakesEveryForm) {
  EXPECT_EQ(Completion(R"({"prompt":["a"]})").value().prompts.size(), 1u);
  EXPECT_EQ(Completion(R"({"prompt":["a","b",[1,2]]})").value().prompts.size(), 3u);
  EXPECT_THAT(std::get<1>(Completion(R"({"prompt":[[4,5]]})").value().prompts.at(0)),
              ElementsAre(4, 5));
}

TEST(OpenaiRequestTest, ChatMessagesBecomePlainStrings) {
  auto parsed = Chat(R"({"messages":[
    {"role":"system","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}],"name":null},
    {"role":"assistant","content":null}],"max_tokens":3,"max_completion_tokens":5,
    "logprobs":true,"top_logprobs":2,"chat_template_kwargs":{"enable_thinking":false}})");
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  const CompletionRequest& r = parsed.value();
  EXPECT_EQ(r.chat.messages.dump(),
            R"([{"role":"system","content":"a\nb"},{"role":"assistant","content":""}])");
  EXPECT_EQ(r.max_tokens, 5u);
  EXPECT_EQ(r.sampling.top_logprobs, 2);
  EXPECT_EQ(r.chat.variables["enable_thinking"], false);
}

TEST(OpenaiRequestTest, ToolsReachTheTemplateUnlessTurnedOff) {
  EXPECT_EQ(Chat(ChatWith(R"("tools":[{"type":"function"}])")).value().chat.tools.size(), 1u);
  EXPECT_TRUE(Chat(ChatWith(R"("tools":[{"type":"function"}],"tool_choice":"none")"))
                  .value()
                  .chat.tools.is_null());
}

struct BadCase {
  std::string body, param, message;
};

TEST(OpenaiRequestTest, BadCompletionsNameTheField) {
  const BadCase cases[] = {
      {"", "", "not valid JSON"},
      {"{", "", "not valid JSON"},
      {"[]", "", "must be a JSON object"},
      {"null", "", "must be a JSON object"},
      {"{\"prompt\":\"\xff\"}", "", "not valid JSON"},
      {R"({"prompt":1e999})", "", "not valid JSON"},
      {std::string(100000, '['), "", "nested deeper"},
      {With("\"x\":" + std::string(100, '[') + std::string(100, ']')), "", "nested deeper"},
      {"{}", "prompt", "missing"},
      {R"({"prompt":null})", "prompt", "missing"},
      {R"({"prompt":5})", "prompt", "must be"},
      {R"({"prompt":[]})", "prompt", "must be"},
      {R"({"prompt":[1,"a"]})", "prompt", "integers only"},
      {R"({"prompt":["a",1]})", "prompt", "list of token ids"},
      {R"({"prompt":[1.5]})", "prompt", "integers only"},
      {R"({"prompt":[1000]})", "prompt", "outside the vocabulary"},
      {R"({"prompt":[-1]})", "prompt", "outside the vocabulary"},
      {R"({"prompt":[18446744073709551615]})", "prompt", "outside the vocabulary"},
      {With(R"("model":5)"), "model", "string"},
      {With(R"("max_tokens":0)"), "max_tokens", "from 1"},
      {With(R"("max_tokens":-1)"), "max_tokens", "from 1"},
      {With(R"("max_tokens":"5")"), "max_tokens", "integer"},
      {With(R"("max_tokens":5.5)"), "max_tokens", "integer"},
      {With(R"("max_tokens":true)"), "max_tokens", "integer"},
      {With(R"("max_tokens":99999999999999999999)"), "max_tokens", "integer"},
      {With(R"("max_tokens":2,"min_tokens":3)"), "min_tokens", "more than"},
      {With(R"("temperature":2.1)"), "temperature", "from 0 to 2"},
      {With(R"("temperature":-0.1)"), "temperature", "from 0 to 2"},
      {With(R"("temperature":"hot")"), "temperature", "number"},
      {With(R"("top_p":0)"), "top_p", "greater than 0"},
      {With(R"("top_p":1.1)"), "top_p", "from 0 to 1"},
      {With(R"("top_k":-2)"), "top_k", "from -1"},
      {With(R"("seed":9223372036854775808)"), "seed", "from"},
      {With(R"("seed":1.5)"), "seed", "integer"},
      {With(R"("stop":5)"), "stop", "string or a list"},
      {With(R"("stop":["a",5])"), "stop", "string or a list"},
      {With("\"stop\":\"" + std::string(257, 'a') + "\""), "stop", "longer than"},
      {With(R"("stop":["1","2","3","4","5","6","7","8","9","0","1","2","3","4","5","6","7"])"),
       "stop", "more than 16"},
      {With(R"("stop_token_ids":[1000])"), "stop_token_ids", "vocabulary"},
      {With(R"("stop_token_ids":5)"), "stop_token_ids", "list"},
      {With(R"("logprobs":21)"), "logprobs", "from 0 to 20"},
      {With(R"("logprobs":true)"), "logprobs", "integer"},
      {With(R"("stream":"yes")"), "stream", "boolean"},
      {With(R"("stream":1)"), "stream", "boolean"},
      {With(R"("stream_options":{"include_usage":true})"), "stream_options", "needs stream"},
      {With(R"("stream":true,"stream_options":5)"), "stream_options", "object"},
      {With(R"("stream":true,"stream_options":{"include_usage":5})"), "stream_options", "boolean"},
      {With(R"("n":2)"), "n", "not supported"},
      {With(R"("n":"1")"), "n", "number"},
      {With(R"("best_of":3)"), "best_of", "not supported"},
      {With(R"("echo":true)"), "echo", "not supported"},
      {With(R"("suffix":"x")"), "suffix", "not supported"},
      {With(R"("logit_bias":{"5":1})"), "logit_bias", "not supported"},
      {With(R"("presence_penalty":0.5)"), "presence_penalty", "not supported"},
      {With(R"("frequency_penalty":-1)"), "frequency_penalty", "not supported"},
      {With(R"("repetition_penalty":1.1)"), "repetition_penalty", "not supported"},
      {With(R"("min_p":0.1)"), "min_p", "not supported"},
      {With(R"("use_beam_search":true)"), "use_beam_search", "not supported"},
      {With(R"("prompt_logprobs":1)"), "prompt_logprobs", "not supported"},
      {With(R"("response_format":{"type":"json_object"})"), "response_format", "not supported"},
      {With(R"("response_format":"json")"), "response_format", "not supported"},
      {With(R"("guided_json":{"type":"object"})"), "guided_json", "not supported"},
      {With(R"("cache_salt":7)"), "cache_salt", "string"},
      {With(R"("priority":"1")"), "priority", "integer"},
      {With(R"("priority":1.5)"), "priority", "integer"},
      {With(R"("priority":true)"), "priority", "integer"},
      {With(R"("service_tier":1)"), "service_tier", "string"},
  };
  for (const BadCase& c : cases) {
    auto parsed = Completion(c.body);
    ASSERT_FALSE(parsed.ok()) << c.body.substr(0, 200);
    EXPECT_EQ(parsed.error().status, 400);
    EXPECT_EQ(parsed.error().param, c.param) << c.body.substr(0, 200);
    EXPECT_THAT(parsed.error().message, HasSubstr(c.message));
  }
}

TEST(OpenaiRequestTest, BadChatsNameTheField) {
  const BadCase cases[] = {
      {R"({"prompt":"hi"})", "messages", "missing"},
      {R"({"messages":[]})", "messages", "at least one"},
      {R"({"messages":"hi"})", "messages", "list"},
      {R"({"messages":["hi"]})", "messages", "role"},
      {R"({"messages":[{"content":"hi"}]})", "messages", "role"},
      {R"({"messages":[{"role":5,"content":"hi"}]})", "messages", "role"},
      {R"({"messages":[{"role":"user","content":5}]})", "messages", "content"},
      {R"({"messages":[{"role":"user","content":["hi"]}]})", "messages", "type text"},
      {R"({"messages":[{"role":"user","content":[{"type":"text"}]}]})", "messages", "type text"},
      {R"({"messages":[{"role":"user","content":[{"type":"image_url","image_url":{}}]}]})",
       "messages", "type text"},
      {ChatWith(R"("logprobs":5)"), "logprobs", "boolean"},
      {ChatWith(R"("top_logprobs":5)"), "top_logprobs", "needs logprobs"},
      {ChatWith(R"("logprobs":true,"top_logprobs":21)"), "top_logprobs", "from 0 to 20"},
      {ChatWith(R"("max_completion_tokens":0)"), "max_completion_tokens", "from 1"},
      {ChatWith(R"("tools":5)"), "tools", "list"},
      {ChatWith(R"("tool_choice":"required")"), "tool_choice", "not supported"},
      {ChatWith(R"("tool_choice":{"type":"function"})"), "tool_choice", "not supported"},
      {ChatWith(R"("chat_template_kwargs":5)"), "chat_template_kwargs", "object"},
      {ChatWith(R"("chat_template":"x")"), "chat_template", "not supported"},
      {ChatWith(R"("continue_final_message":true)"), "continue_final_message", "not supported"},
  };
  for (const BadCase& c : cases) {
    auto parsed = Chat(c.body);
    ASSERT_FALSE(parsed.ok()) << c.body;
    EXPECT_EQ(parsed.error().param, c.param) << c.body;
    EXPECT_THAT(parsed.error().message, HasSubstr(c.message));
  }
}

TEST(OpenaiRequestTest, PriorityOrServiceTierChoosesTheLane) {
  const std::pair<const char*, Lane> cases[] = {
      {R"("user":"u")", Lane::kInteractive},
      {R"("priority":null,"service_tier":null)", Lane::kInteractive},
      {R"("priority":0)", Lane::kInteractive},
      {R"("priority":-9223372036854775808)", Lane::kInteractive},
      {R"("priority":1)", Lane::kBulk},
      {R"("service_tier":"auto")", Lane::kInteractive},
      {R"("service_tier":"default")", Lane::kInteractive},
      {R"("service_tier":"priority")", Lane::kInteractive},
      {R"("service_tier":"flex")", Lane::kBulk},
      {R"("service_tier":"auto","priority":5)", Lane::kBulk},
      {R"("service_tier":"flex","priority":5)", Lane::kBulk},
      {R"("service_tier":"priority","priority":-1)", Lane::kInteractive},
      {R"("service_tier":"on_demand")", Lane::kInteractive},
      {R"("service_tier":"flex","priority":0)", Lane::kBulk},
      {R"("service_tier":"flex","priority":-1)", Lane::kInteractive},
      {R"("service_tier":"default","priority":1)", Lane::kBulk}};
  for (const auto& [fields, lane] : cases) {
    auto completion = Completion(With(fields));
    ASSERT_TRUE(completion.ok()) << fields << ": " << completion.error().message;
    EXPECT_EQ(completion.value().lane, lane) << fields;
    EXPECT_EQ(Chat(ChatWith(fields)).value().lane, lane) << fields;
  }
}

TEST(OpenaiRequestTest, TooManyMessagesAreRefusedByName) {
  const auto chat_of = [](size_t messages) {
    std::string body = R"({"messages":[{"role":"user","content":""})";
    for (size_t i = 1; i < messages; ++i) body += R"(,{"role":"user"})";
    return body + "]}";
  };
  EXPECT_EQ(Chat(chat_of(kMaxMessages)).value().chat.messages.size(), kMaxMessages);
  auto parsed = Chat(chat_of(kMaxMessages + 1));
  ASSERT_FALSE(parsed.ok());
  EXPECT_EQ(parsed.error().status, 400);
  EXPECT_EQ(parsed.error().param, "messages");
  EXPECT_THAT(parsed.error().message, HasSubstr("more than 1024 messages"));
}

TEST(OpenaiRequestTest, ObjectsWithTooManyMembersAreRefused) {
  const auto message_with = [](int members) {
    std::string body = R"({"messages":[{"role":"user","content":"a:b,\":{c")";
    for (int i = 2; i < members; ++i) absl::StrAppend(&body, ",\"", i, "\":null");
    return body + "}]}";
  };
  EXPECT_TRUE(Chat(message_with(kMaxJsonMembers)).ok());
  for (const int members : {static_cast<int>(kMaxJsonMembers) + 1, 20'000}) {
    auto parsed = Chat(message_with(members));
    ASSERT_FALSE(parsed.ok());
    EXPECT_THAT(parsed.error().message, HasSubstr("more than 512 members"));
  }
}

TEST(TokenizeRequestTest, TakesPromptContentOrMessages) {
  EXPECT_EQ(ParseTokenizeRequest(R"({"prompt":"a"})").value().prompt, "a");
  EXPECT_EQ(ParseTokenizeRequest(R"({"content":"b"})").value().prompt, "b");
  EXPECT_EQ(ParseTokenizeRequest(R"({"messages":[{"role":"user","content":"c"}]})")
                .value()
                .messages.size(),
            1u);
  EXPECT_FALSE(ParseTokenizeRequest("{}").ok());
  EXPECT_THAT(ParseDetokenizeRequest(R"({"tokens":[1,2]})", kVocab).value(), ElementsAre(1, 2));
  EXPECT_FALSE(ParseDetokenizeRequest("{}", kVocab).ok());
  EXPECT_FALSE(ParseDetokenizeRequest(R"({"tokens":[1000]})", kVocab).ok());
}

}  // namespace
}  // namespace tandem
