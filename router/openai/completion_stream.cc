#include "router/openai/completion_stream.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"

namespace tandem {

AnswerOptions AnswerOptions::From(const CompletionRequest& request) {
  return {.stream = request.stream,
          .include_usage = request.include_usage,
          .continuous_usage = request.continuous_usage,
          .return_token_ids = request.return_token_ids,
          .timings = request.timings,
          .logprobs = request.wants_logprobs(),
          .include_stop = request.include_stop,
          .skip_special_tokens = request.skip_special_tokens,
          .stop = request.stop};
}

CompletionStream::CompletionStream(AnswerIdentity identity, AnswerOptions options,
                                   const std::vector<uint32_t>& prompt_tokens,
                                   const Tokenizer& tokenizer)
    : writer_(std::move(identity), tokenizer),
      options_(std::move(options)),
      choices_left_(prompt_tokens.size()) {
  for (uint32_t tokens : prompt_tokens) {
    choices_.push_back(Choice{.text = ChoiceText(tokenizer, options_.stop, options_.include_stop,
                                                 options_.skip_special_tokens),
                              .whole = {},
                              .prompt_tokens = tokens,
                              .finished = {}});
  }
}

CompletionStream::Output CompletionStream::OnTokens(size_t index,
                                                    const std::vector<TokenId>& tokens,
                                                    const std::vector<OutputLogprobs>& logprobs) {
  Output output;
  Choice& choice = choices_[index];
  if (done_ || choice.finished.has_value() || choice.text.matched_stop().has_value()) return output;
  for (size_t i = 0; i < tokens.size(); ++i) {
    std::optional<TextPiece> piece =
        choice.text.Append(tokens[i], logprobs.empty() ? nullptr : &logprobs[i]);
    StartChoice(index, &output.bytes);
    if (piece.has_value()) Deliver(index, *std::move(piece), &output.bytes);
    if (choice.text.matched_stop().has_value()) {
      output.stop_matched = true;
      break;
    }
  }
  return output;
}

// The role leaves with the first token and not before: clients take it for the first token.
void CompletionStream::StartChoice(size_t index, std::string* bytes) {
  Choice& choice = choices_[index];
  if (!options_.stream || choice.role_sent) return;
  choice.role_sent = true;
  if (writer_.identity().kind != ApiKind::kChat) return;
  const Usage now = usage();
  writer_.AppendRoleChunk(static_cast<uint32_t>(index), options_.continuous_usage ? &now : nullptr,
                          bytes);
  started_ = true;
}

void CompletionStream::Deliver(size_t index, TextPiece piece, std::string* bytes) {
  if (piece.empty()) return;
  Choice& choice = choices_[index];
  if (!options_.stream) {
    TextPiece& whole = choice.whole;
    whole.text += piece.text;
    whole.tokens.insert(whole.tokens.end(), piece.tokens.begin(), piece.tokens.end());
    whole.logprobs.insert(whole.logprobs.end(), piece.logprobs.begin(), piece.logprobs.end());
    return;
  }
  const Usage now = usage();
  writer_.AppendContentChunk({.index = static_cast<uint32_t>(index),
                              .piece = &piece,
                              .text_offset = choice.characters,
                              .with_logprobs = options_.logprobs,
                              .with_token_ids = options_.return_token_ids},
                             options_.continuous_usage ? &now : nullptr, bytes);
  if (options_.logprobs) choice.characters += CountCharacters(piece.text);
  started_ = true;
}

CompletionStream::Output CompletionStream::OnEnd(size_t index, const EndStream& end) {
  Output output;
  if (done_) return output;
  Choice& choice = choices_[index];
  TANDEM_CHECK(!choice.finished.has_value());
  timings_ = end.timings;
  choice.cached_tokens = end.timings.cached_tokens;
  if (end.error.has_value()) {
    done_ = true;
    finish_reason_ = "error";
    error_ = ToApiError(*end.error);
    if (started_) output.bytes = absl::StrCat(ErrorEvent(*error_), kDoneEvent);
    return output;
  }

  StartChoice(index, &output.bytes);
  Deliver(index, choice.text.Finish(), &output.bytes);
  FinishedChoice& finished = choice.finished.emplace();
  finished.stop_string = choice.text.matched_stop();
  const bool stopped = finished.stop_string.has_value() || end.reason == FinishReason::kStop;
  if (!finished.stop_string.has_value()) finished.stop_token = end.stop_token;
  finished.finish_reason = finish_reason_ = stopped ? "stop" : "length";
  if (options_.stream) {
    const Usage now = usage();
    writer_.AppendContentChunk({.index = static_cast<uint32_t>(index), .finished = &finished},
                               options_.continuous_usage ? &now : nullptr, &output.bytes);
    started_ = true;
  }
  if (--choices_left_ == 0) Complete(&output.bytes);
  return output;
}

void CompletionStream::Complete(std::string* bytes) {
  done_ = true;
  const RequestTimings* timings = options_.timings ? &timings_ : nullptr;
  if (options_.stream) {
    if (options_.include_usage || options_.timings) {
      writer_.AppendUsageChunk(usage(), timings, bytes);
    }
    absl::StrAppend(bytes, kDoneEvent);
    return;
  }
  std::vector<ChoiceContent> contents;
  for (size_t i = 0; i < choices_.size(); ++i) {
    contents.push_back({.index = static_cast<uint32_t>(i),
                        .piece = &choices_[i].whole,
                        .finished = &*choices_[i].finished,
                        .with_logprobs = options_.logprobs,
                        .with_token_ids = options_.return_token_ids});
  }
  *bytes = writer_.Body(contents, usage(), timings);
}

Usage CompletionStream::usage() const {
  Usage sum;
  for (const Choice& choice : choices_) {
    sum.prompt_tokens += choice.prompt_tokens;
    sum.completion_tokens += choice.text.num_tokens();
    sum.cached_tokens += choice.cached_tokens;
  }
  return sum;
}

}  // namespace tandem
