// ChatTemplate renders a conversation with the model's own Jinja template. It keeps track of where
// every byte of the result comes from: what the template wrote is trusted, what came from the
// request is not (see segment.h). Immutable after Parse, so Render is thread-safe. Rendering is
// bounded in steps, depth and memory. Numbers have no origin: the digits of a number count as the
// template's own.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/text/segment.h"
#include "nlohmann/json.hpp"

namespace tandem {

struct ChatTemplateInput {
  nlohmann::ordered_json messages = nlohmann::ordered_json::array();
  nlohmann::ordered_json tools;      // null: the template sees None
  nlohmann::ordered_json documents;  // null: the template sees None
  // Further variables by name (chat_template_kwargs of the request); an object or null. They are
  // untrusted, and they cannot replace the variables named above, add_generation_prompt or the
  // token strings.
  nlohmann::ordered_json variables;
  bool add_generation_prompt = true;
  absl::Time now = absl::UnixEpoch();  // what strftime_now() tells
  absl::TimeZone time_zone = absl::UTCTimeZone();
};

// Text of the tokens that templates name; operator's side, so trusted. Empty: the variable is an
// empty string.
struct ChatTemplateTokens {
  std::string bos = {}, eos = {}, unknown = {}, padding = {};
};

struct ChatTemplateLimits {
  size_t max_output_bytes = size_t{16} << 20;
  size_t max_built_bytes = size_t{512} << 20;  // all intermediate strings and lists together
  size_t max_steps = 5'000'000;                // expressions and statements executed
  size_t max_depth = 400;                      // nested expressions, statements and macro calls
};

class ChatTemplate {
 public:
  // NOT_FOUND when `source` is empty: the model file has no template. UNIMPLEMENTED for a construct
  // that this interpreter lacks, INVALID_ARGUMENT for a syntax error; both name the line.
  static absl::StatusOr<ChatTemplate> Parse(absl::string_view source, ChatTemplateTokens tokens,
                                            ChatTemplateLimits limits = {});

  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  // INVALID_ARGUMENT when the template refuses the conversation (raise_exception, undefined values,
  // wrong types), RESOURCE_EXHAUSTED at a limit. Neighbouring segments differ in trust; none is
  // empty.
  absl::StatusOr<std::vector<Segment>> Render(const ChatTemplateInput& input) const;

 private:
  struct Rep;
  explicit ChatTemplate(std::unique_ptr<const Rep> rep);
  std::unique_ptr<const Rep> rep_;
};

// The text of all segments.
std::string Concatenate(const std::vector<Segment>& segments);

}  // namespace tandem
