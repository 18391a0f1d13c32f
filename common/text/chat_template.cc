#include "common/text/chat_template.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/text/jinja/budget.h"
#include "common/text/jinja/interpreter.h"
#include "common/text/jinja/json_text.h"
#include "common/text/jinja/parser.h"
#include "common/text/jinja/scope.h"
#include "common/text/utf8.h"

namespace tandem {
namespace {

constexpr absl::string_view kErrorContext = "chat template";

// What the router and the operator say; request variables cannot replace these.
void SetTrusted(const ChatTemplateTokens& tokens, bool add_generation_prompt, jinja::Scope& scope) {
  scope.Set("bos_token", jinja::Value::Trusted(tokens.bos));
  scope.Set("eos_token", jinja::Value::Trusted(tokens.eos));
  scope.Set("unk_token", jinja::Value::Trusted(tokens.unknown));
  scope.Set("pad_token", jinja::Value::Trusted(tokens.padding));
  scope.Set("add_generation_prompt", jinja::Value::Bool(add_generation_prompt));
}

absl::Status SetFromRequest(const ChatTemplateInput& input, jinja::Budget& budget,
                            jinja::Scope& scope) {
  if (input.variables.is_object()) {
    for (const auto& [name, json] : input.variables.items()) {
      if (jinja::IsFunction(name)) {
        return absl::InvalidArgumentError(absl::StrCat("the variable name ", name, " is taken"));
      }
      ASSIGN_OR_RETURN(jinja::Value value, jinja::ValueFromJson(json, budget));
      scope.Set(name, std::move(value));
    }
  } else if (!input.variables.is_null()) {
    return absl::InvalidArgumentError("the template's variables are no object");
  }
  ASSIGN_OR_RETURN(jinja::Value messages, jinja::ValueFromJson(input.messages, budget));
  ASSIGN_OR_RETURN(jinja::Value tools, jinja::ValueFromJson(input.tools, budget));
  ASSIGN_OR_RETURN(jinja::Value documents, jinja::ValueFromJson(input.documents, budget));
  scope.Set("messages", std::move(messages));
  scope.Set("tools", std::move(tools));
  scope.Set("documents", std::move(documents));
  return absl::OkStatus();
}

}  // namespace

struct ChatTemplate::Rep {
  jinja::Body body;
  ChatTemplateTokens tokens;
  ChatTemplateLimits limits;
};

absl::StatusOr<ChatTemplate> ChatTemplate::Parse(absl::string_view source,
                                                 ChatTemplateTokens tokens,
                                                 ChatTemplateLimits limits) {
  if (source.empty()) {
    return absl::NotFoundError("chat template: the model file has none");
  }
  if (!IsWellFormedUtf8(source)) {
    return absl::InvalidArgumentError("chat template: it is not UTF-8");
  }
  absl::StatusOr<jinja::Body> body = jinja::Parse(source);
  if (!body.ok()) return WithContext(body.status(), kErrorContext);
  auto rep = std::make_unique<Rep>();
  rep->body = *std::move(body);
  rep->tokens = std::move(tokens);
  rep->limits = limits;
  return ChatTemplate(std::move(rep));
}

ChatTemplate::ChatTemplate(std::unique_ptr<const Rep> rep) : rep_(std::move(rep)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

absl::StatusOr<std::vector<Segment>> ChatTemplate::Render(const ChatTemplateInput& input) const {
  jinja::Budget budget(rep_->limits);
  jinja::Scope globals(nullptr);
  if (absl::Status status = SetFromRequest(input, budget, globals); !status.ok()) {
    return WithContext(status, kErrorContext);
  }
  SetTrusted(rep_->tokens, input.add_generation_prompt, globals);
  jinja::Interpreter interpreter(budget, input.now, input.time_zone);
  const absl::StatusOr<jinja::TrackedText> text = interpreter.Run(rep_->body, globals);
  if (!text.ok()) return WithContext(text.status(), kErrorContext);
  return text->ToSegments();
}

std::string Concatenate(const std::vector<Segment>& segments) {
  std::string text;
  for (const Segment& segment : segments) text += segment.text;
  return text;
}

}  // namespace tandem
