// Bodies of generating requests, as any client may send them: parsing must end without a crash, and
// what it accepts must keep the bounds that the rest of the router relies on.
#include <cstddef>
#include <cstdint>
#include <limits>

#include "absl/strings/string_view.h"
#include "common/base/check.h"
#include "router/openai/openai_request.h"

namespace tandem {
namespace {

constexpr size_t kVocabSize = 49152;

void CheckAccepted(const CompletionRequest& r) {
  const SamplingParams& s = r.sampling;
  TANDEM_CHECK(s.temperature >= 0 && s.temperature <= 2 && s.top_p > 0 && s.top_p <= 1);
  TANDEM_CHECK(s.top_k >= 0 && s.top_logprobs >= -1 && s.top_logprobs <= kMaxLogprobs);
  TANDEM_CHECK(!r.max_tokens.has_value() || (*r.max_tokens >= 1 && s.min_tokens <= *r.max_tokens));
  TANDEM_CHECK(r.stop.size() <= kMaxStopStrings);
  for (const std::string& stop : r.stop)
    TANDEM_CHECK(!stop.empty() && stop.size() <= kMaxStopBytes);
  for (TokenId id : s.stop_token_ids) TANDEM_CHECK(id >= 0 && static_cast<size_t>(id) < kVocabSize);
  TANDEM_CHECK(r.kind == ApiKind::kChat ? !r.chat.messages.empty() : !r.prompts.empty());
  for (const PromptInput& prompt : r.prompts) {
    const auto* tokens = std::get_if<std::vector<TokenId>>(&prompt);
    if (tokens == nullptr) continue;
    for (TokenId id : *tokens) TANDEM_CHECK(id >= 0 && static_cast<size_t>(id) < kVocabSize);
  }
}

}  // namespace
}  // namespace tandem

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view body(reinterpret_cast<const char*>(data), size);
  for (tandem::ApiKind kind : {tandem::ApiKind::kCompletion, tandem::ApiKind::kChat}) {
    auto parsed = tandem::ParseCompletionRequest(kind, body, tandem::kVocabSize);
    if (parsed.ok()) {
      tandem::CheckAccepted(parsed.value());
    } else {
      TANDEM_CHECK(parsed.error().status == 400 && !tandem::ErrorBody(parsed.error()).empty());
    }
  }
  (void)tandem::ParseTokenizeRequest(body).ok();
  (void)tandem::ParseDetokenizeRequest(body, tandem::kVocabSize).ok();
  return 0;
}
