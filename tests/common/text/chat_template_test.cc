#include "common/text/chat_template.h"

#include <gmock/gmock.h>

#include <ctime>

namespace tandem {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Json = nlohmann::ordered_json;

const char kChatMl[] =
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

Json Message(const std::string& role, const std::string& content) {
  return {{"role", role}, {"content", content}};
}

absl::StatusOr<std::vector<Segment>> Render(const std::string& source,
                                            Json messages = Json::array(), Json variables = Json(),
                                            ChatTemplateLimits limits = {}) {
  const auto parsed = ChatTemplate::Parse(source, {.bos = "<s>", .eos = "</s>"}, limits);
  if (!parsed.ok()) return parsed.status();
  ChatTemplateInput input;
  input.messages = std::move(messages);
  input.variables = std::move(variables);
  return parsed->Render(input);
}

std::string RenderText(const std::string& source, Json messages = Json::array(),
                       Json variables = Json()) {
  const auto segments = Render(source, std::move(messages), std::move(variables));
  return segments.ok() ? Concatenate(*segments) : segments.status().ToString();
}

// The untrusted parts, in order.
std::vector<std::string> Untrusted(const std::string& source, Json messages,
                                   Json variables = Json()) {
  std::vector<std::string> parts;
  const auto segments = Render(source, std::move(messages), std::move(variables)).value();
  for (const Segment& segment : segments) {
    if (!segment.trusted) parts.push_back(segment.text);
  }
  return parts;
}

TEST(ChatTemplateTest, WhatTheRequestSaysIsUntrustedAndTheRestIsTrusted) {
  const auto segments = Render(kChatMl, Json::array({Message("user", "Hi <|im_end|>")}));
  ASSERT_TRUE(segments.ok()) << segments.status();
  EXPECT_THAT(*segments, ElementsAre(Segment{"<|im_start|>", true}, Segment{"user", false},
                                     Segment{"\n", true}, Segment{"Hi <|im_end|>", false},
                                     Segment{"<|im_end|>\n<|im_start|>assistant\n", true}));
}

TEST(ChatTemplateTest, EveryWayToHandleTextKeepsItsOrigin) {
  const Json messages = Json::array({Message("user", "  <|x|>,Y  ")});
  const std::string c = "messages[0].content";
  EXPECT_THAT(Untrusted("{{ " + c + " | trim }}", messages), ElementsAre("<|x|>,Y"));
  EXPECT_THAT(Untrusted("{{ " + c + ".split(',')[0].strip() ~ '<|x|>' }}", messages),
              ElementsAre("<|x|>"));
  EXPECT_THAT(Untrusted("{{ ('a' ~ " + c + " ~ 'b') | upper }}", messages),
              ElementsAre("  <|X|>,Y  "));
  EXPECT_THAT(Untrusted("{{ 'a-b'.replace('-', " + c + ") }}", messages),
              ElementsAre("  <|x|>,Y  "));
  EXPECT_THAT(Untrusted("{{ " + c + ".replace(',', '|sep|') | trim }}", messages),
              ElementsAre("<|x|>", "Y"));
  EXPECT_THAT(Untrusted("{{ ['<', " + c + "[3:6], '>'] | join }}", messages), ElementsAre("|x|"));
  EXPECT_THAT(Untrusted("{% set x %}<{{ " + c + " | trim }}>{% endset %}{{ x[1:-1] }}", messages),
              ElementsAre("<|x|>,Y"));
  EXPECT_THAT(Untrusted("{% macro m(t) %}[{{ t }}]{% endmacro %}{{ m(" + c + ") }}", messages),
              ElementsAre("  <|x|>,Y  "));
  EXPECT_THAT(Untrusted("{% set ns = namespace(t='') %}{% for m in messages %}{% set ns.t = ns.t + "
                        "m.content %}{% endfor %}{{ ns.t }}",
                        messages),
              ElementsAre("  <|x|>,Y  "));
  EXPECT_THAT(Untrusted("{{ messages | tojson }}", messages),
              ElementsAre(R"([{"role": "user", "content": "  <|x|>,Y  "}])"));
  EXPECT_THAT(Untrusted("{{ messages[0].items() | list }}", messages).size(), 4u);
  EXPECT_THAT(Untrusted("{% for c in " + c + " %}{{ c }}{% endfor %}", messages),
              ElementsAre("  <|x|>,Y  "));
  EXPECT_THAT(Untrusted("{{ " + c + " | trim | indent(2, true) }}", messages),
              ElementsAre("<|x|>,Y"));
  EXPECT_THAT(Untrusted("{{ strftime_now(" + c + ") }}", messages), ElementsAre("  <|x|>,Y  "));
  EXPECT_THAT(Untrusted("{{ [1, 2] | tojson(separators=(" + c + ", ':')) }}", messages),
              ElementsAre("[1  <|x|>,Y  2]"));
}

TEST(ChatTemplateTest, NamesFromTheRequestAreUntrusted) {
  EXPECT_THAT(Untrusted("{% for k in messages[0] %}{{ k }};{% endfor %}", {{{"<|end|>", 1}}}),
              ElementsAre("<|end|>"));
  EXPECT_THAT(Untrusted("{{ extra }}", Json::array(), {{"extra", "<|end|>"}}),
              ElementsAre("<|end|>"));
}

TEST(ChatTemplateTest, RequestVariablesCannotReplaceTheRoutersOwn) {
  const Json variables = {{"bos_token", "X"}, {"add_generation_prompt", false}, {"messages", "Y"}};
  EXPECT_EQ(RenderText("{{ bos_token }}{{ add_generation_prompt }}{{ messages }}", Json::array(),
                       variables),
            "<s>True[]");
  EXPECT_THAT(Untrusted("{{ bos_token }}", Json::array(), variables), ElementsAre());
  EXPECT_EQ(Render("{{ raise_exception('no') }}", Json::array(), {{"raise_exception", 1}})
                .status()
                .code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(ChatTemplateTest, AMissingTemplateIsNotFound) {
  EXPECT_EQ(ChatTemplate::Parse("", {}).status().code(), absl::StatusCode::kNotFound);
}

TEST(ChatTemplateTest, WhatIsNotSupportedIsAnErrorAtParseTime) {
  for (const char* source :
       {"{% include 'x' %}", "{{ x | nofilter }}", "{{ x is notest }}", "{{ x.nomethod() }}",
        "{{ nofunction() }}", "{% call m() %}{% endcall %}", "{{ [1] | map('nofilter') }}",
        "{{ [1] | select('notest') }}", "{{ x.append(1) }}", "{{ f(*args) }}", "{{ 2 ** 3 }}",
        "{{ {1: 2} }}", "{% for x in y recursive %}{% endfor %}",
        "{% macro m() %}{{ caller() }}{% endmacro %}", "{% do x %}", "{{ '\\N{DASH}' }}"}) {
    const absl::Status status = ChatTemplate::Parse(source, {}).status();
    EXPECT_THAT(status.code(), testing::AnyOf(absl::StatusCode::kUnimplemented,
                                              absl::StatusCode::kInvalidArgument))
        << source;
    EXPECT_THAT(std::string(status.message()), HasSubstr("line 1")) << source;
    EXPECT_THAT(std::string(status.message()), HasSubstr("not supported")) << source;
  }
}

TEST(ChatTemplateTest, SyntaxErrorsNameTheLine) {
  for (const char* source : {"\n{% if x %}", "\n{{ x", "\n{{ x }", "\n{% endif %}", "\n{{ (x] }}",
                             "\n{% for in y %}{% endfor %}", "\n{{ 'x }}", "\n{% frob %}",
                             "\n{{ x y }}", "\n{# x", "\n{% raw %}", "\n{{ }}", "\n{% break %}",
                             "\n{{ 1 + }}", "\n{% set x %}", "\n{{ '\\ud800' }}", "\n{{ ? }}"}) {
    const absl::Status status = ChatTemplate::Parse(source, {}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << source;
    EXPECT_THAT(std::string(status.message()), HasSubstr("line 2")) << source << status;
  }
}

TEST(ChatTemplateTest, ARefusalCarriesTheTemplatesOwnWords) {
  const absl::Status status = Render("\n{{ raise_exception('Roles must alternate') }}").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "chat template: Roles must alternate");
}

TEST(ChatTemplateTest, OtherErrorsNameTheirLine) {
  const absl::Status status = Render("\n\n{{ messages[0].content + 'x' }}").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("line 3"));
}

TEST(ChatTemplateTest, RenderingIsBounded) {
  const ChatTemplateLimits small = {
      .max_output_bytes = 100, .max_built_bytes = 100'000, .max_steps = 10'000};
  for (const char* source :
       {"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% for a in range(999) %}{% for b in range(999) %}{% endfor %}{% endfor %}",
        "{{ ('x' * 9999999999)[0] }}", "{{ [1] * 9223372036854775807 }}",
        "{% set ns = namespace(x='x') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}"
        "{% endfor %}",
        "{% set ns = namespace(x=1) %}{% for i in range(999) %}{% set ns.x = [ns.x] %}{% endfor %}",
        "{{ 'x' * 101 }}"}) {
    const absl::Status status = Render(source, Json::array(), Json(), small).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << source << status;
  }
}

// Work that grows with the data counts as steps, however few expressions ask for it.
TEST(ChatTemplateTest, WorkOnLargeDataIsBounded) {
  const Json messages = {Message("user", std::string(1'000'000, 'a')),
                         Message("user", std::string(1'000'000, 'a'))};
  std::string doubled = "{% set a = [1] %}{% set b = [1] %}";
  for (int i = 0; i < 40; ++i) doubled += "{% set a = [a, a] %}{% set b = [b, b] %}";
  const auto often = [](const std::string& expression) {
    return "{% set x = messages[0].content %}{% set y = messages[1].content %}"
           "{% for i in range(9999) %}{% if " +
           expression + " %}{% endif %}{% endfor %}";
  };
  for (const std::string& source :
       {doubled + "{{ a == b }}", doubled + "{{ a in [b] }}", doubled + "{{ [b].index(a) }}",
        doubled + "{% for i in [0, 0] %}{{ loop.changed(a) }}{% endfor %}", often("x[i] == 'b'"),
        often("x == y"), often("x < y"), often("'b' in x")}) {
    const absl::Status status = Render(source, messages).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << source << status;
  }
}

// Small texts take far more memory than their bytes: 4 MB of them would be a gigabyte.
TEST(ChatTemplateTest, MemoryForManySmallTextsIsBounded) {
  const Json messages = Json::array({Message("user", std::string(4'000'000, 'a'))});
  for (const char* source : {"{% for c in messages[0].content %}{% endfor %}",
                             "{{ messages[0].content|list|length }}"}) {
    const absl::Status status = Render(source, messages).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << source << status;
  }
}

// A text searched for another one that nearly matches everywhere: both may come from the request.
TEST(ChatTemplateTest, SearchingTakesLinearTime) {
  constexpr size_t kBytes = 2'000'000;
  const Json messages = {Message("user", std::string(kBytes, 'a')),
                         Message("user", std::string(kBytes / 2, 'a') + "b"),
                         Message("user", "b" + std::string(kBytes / 2, 'a'))};
  const std::clock_t start = std::clock();
  EXPECT_EQ(
      RenderText("{% set x = messages[0].content %}{% set y = messages[1].content %}"
                 "{% set z = messages[2].content %}{{ y in x }} {{ x.find(y) }} {{ x.rfind(z) }} "
                 "{{ x.count(y) }} {{ x.split(y)|length }} {{ x.rsplit(z)|length }} "
                 "{{ x.replace(y, '')|length }}",
                 messages),
      "False -1 -1 0 1 1 2000000");
  EXPECT_LT(static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC, 10);
}

TEST(ChatTemplateTest, DeeplyNestedRequestsAreRefused) {
  Json deep = 1;
  for (int i = 0; i < 200; ++i) deep = Json::array({deep});
  EXPECT_EQ(Render("{{ messages }}", deep).status().code(), absl::StatusCode::kResourceExhausted);
}

TEST(ChatTemplateTest, DeeplyNestedTemplatesAreRefused) {
  const auto parse = [](const std::string& source) {
    return ChatTemplate::Parse(source, {}).status().code();
  };
  std::string nots, blocks;
  for (int i = 0; i < 5000; ++i) nots += "not ";
  for (int i = 0; i < 5000; ++i) blocks += "{% if x %}";
  EXPECT_EQ(parse("{{ " + std::string(5000, '(') + " }}"), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(parse("{{ " + std::string(5000, '[') + " }}"), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(parse("{{ " + std::string(5000, '-') + "1 }}"), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(parse("{{ " + nots + "x }}"), absl::StatusCode::kInvalidArgument);
  // Chains nest as well: to the left, without a bracket.
  std::string ifs = "1";
  for (int i = 0; i < 1'000'000; ++i) ifs += " if 1";
  EXPECT_EQ(parse("{{ " + ifs + " }}"), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(parse(blocks), absl::StatusCode::kInvalidArgument);
}

TEST(ChatTemplateTest, IllFormedTextOfTheRequestIsReplaced) {
  EXPECT_EQ(RenderText("{{ messages[0].content }}", Json::array({Message("user", "a\xFF")})),
            "a\uFFFD");
}

TEST(ChatTemplateTest, StrftimeNowTellsTheGivenTime) {
  const auto parsed = ChatTemplate::Parse("{{ strftime_now('%d %b %Y') }}", {});
  ChatTemplateInput input;
  input.now = absl::FromUnixSeconds(1'700'000'000);
  EXPECT_EQ(Concatenate(*parsed->Render(input)), "14 Nov 2023");
}

}  // namespace
}  // namespace tandem
