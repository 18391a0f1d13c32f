// What Python's Jinja2 made of many templates and conversations (chat_template_oracle.json, written
// by compare_templates.py), against ours. Usage: chat_template_oracle_test
// PATH/chat_template_oracle.json

#include <gmock/gmock.h>

#include <fstream>

#include "common/text/chat_template.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

std::string oracle_path;

TEST(ChatTemplateOracleTest, EveryAnswerAgrees) {
  std::ifstream file(oracle_path);
  const Json oracle = Json::parse(file);
  ASSERT_GT(oracle["jobs"].size(), 150u);
  for (const Json& job : oracle["jobs"]) {
    const auto source = oracle["templates"][job["template"].get<size_t>()].get<std::string>();
    const auto parsed = ChatTemplate::Parse(source, {.bos = job["bos_token"].get<std::string>(),
                                                     .eos = job["eos_token"].get<std::string>()});
    ChatTemplateInput input;
    input.messages = job["messages"];
    input.tools = job.value("tools", Json());
    input.documents = job.value("documents", Json());
    input.variables = job.value("variables", Json());
    input.add_generation_prompt = job["add_generation_prompt"].get<bool>();
    const auto segments = parsed.ok() ? parsed->Render(input) : parsed.status();
    if (job.contains("error")) {
      EXPECT_FALSE(segments.ok()) << source << job["messages"];
    } else {
      ASSERT_TRUE(segments.ok()) << segments.status() << source << job["messages"];
      EXPECT_EQ(Concatenate(*segments), job["expected"].get<std::string>()) << source;
    }
  }
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (argc == 2) tandem::oracle_path = argv[1];
  return RUN_ALL_TESTS();
}
