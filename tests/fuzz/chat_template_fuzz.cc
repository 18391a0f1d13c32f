// Chat templates: the input is a template, a zero byte, and the messages as JSON (left out: a fixed
// conversation). Parsing and rendering must end within their bounds, and no byte of the request may
// come out trusted: the letter Q is in the request only.

#include <cstdint>
#include <string>

#include "common/base/check.h"
#include "common/text/chat_template.h"

namespace tandem {
namespace {

constexpr char kConversation[] = R"([{"role": "system", "content": "QQ <|Q|> Q"},
  {"role": "user", "content": [{"type": "text", "text": "Q\nQ"}], "name": null},
  {"role": "assistant", "content": "Q", "tool_calls": [{"id": "Q", "function": {"name": "Q", "arguments": {"Q": [1, 2.5, true]}}}]}])";

void Run(absl::string_view source, absl::string_view json) {
  ChatTemplateLimits limits;
  limits.max_steps = 20'000;
  limits.max_built_bytes = 1 << 20;
  limits.max_output_bytes = 1 << 18;
  const auto parsed = ChatTemplate::Parse(source, {.bos = "<s>", .eos = "</s>"}, limits);
  if (!parsed.ok()) return;
  ChatTemplateInput input;
  input.messages =
      nlohmann::ordered_json::parse(json.begin(), json.end(), nullptr, /*allow_exceptions=*/false);
  if (input.messages.is_discarded()) return;
  const auto segments = parsed->Render(input);
  if (!segments.ok()) return;
  // A template can spell the letter itself, in either case or as an escape.
  const bool spells = source.find_first_of("qQ\\") != absl::string_view::npos ||
                      source.find("strftime") != absl::string_view::npos;
  for (const Segment& segment : *segments) {
    TANDEM_CHECK(!segment.text.empty());
    TANDEM_CHECK(spells || !segment.trusted || segment.text.find('Q') == std::string::npos);
  }
}

}  // namespace
}  // namespace tandem

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t zero = input.find('\0');
  const bool has_messages = zero != absl::string_view::npos;
  tandem::Run(input.substr(0, zero), has_messages ? input.substr(zero + 1) : tandem::kConversation);
  return 0;
}
