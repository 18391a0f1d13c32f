// Test-only program for compare_templates.py: renders chat templates. Each line on stdin is an
// object with "template" and what ChatTemplateInput holds; each line on stdout is an object with
// "text" and "trusted" (the trusted parts alone), or "error".

#include <iostream>
#include <string>

#include "common/text/chat_template.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

absl::StatusOr<std::vector<Segment>> Render(const Json& job) {
  ChatTemplateTokens tokens;
  tokens.bos = job.value("bos_token", "");
  tokens.eos = job.value("eos_token", "");
  const auto parsed = ChatTemplate::Parse(job["template"].get<std::string>(), tokens);
  if (!parsed.ok()) return parsed.status();
  ChatTemplateInput input;
  input.messages = job["messages"];
  input.tools = job.value("tools", Json());
  input.documents = job.value("documents", Json());
  input.variables = job.value("variables", Json());
  input.add_generation_prompt = job["add_generation_prompt"].get<bool>();
  return parsed->Render(input);
}

Json Answer(const Json& job) {
  const auto segments = Render(job);
  if (!segments.ok()) return {{"error", segments.status().ToString()}};
  std::string trusted;
  for (const Segment& segment : *segments) trusted += segment.trusted ? segment.text : "";
  return {{"text", Concatenate(*segments)}, {"trusted", trusted}};
}

}  // namespace
}  // namespace tandem

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << tandem::Answer(tandem::Json::parse(line)).dump() << "\n";
  }
}
