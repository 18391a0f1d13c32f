#include "common/text/pre_tokenizer.h"

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/text/utf8.h"

namespace tandem {
namespace {

constexpr uint8_t kExpressionClasses = kClassLetter | kClassNumber | kClassSpace;

size_t ContractionLength(absl::string_view text) {
  for (absl::string_view ending : {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}) {
    if (absl::StartsWith(text, ending)) return ending.size();
  }
  return 0;
}

}  // namespace

absl::StatusOr<PreTokenizer> PreTokenizer::Create(absl::string_view name) {
  if (name == "smollm") return PreTokenizer(/*isolate_digits=*/true);
  if (name == "gpt-2") return PreTokenizer(/*isolate_digits=*/false);
  return absl::UnimplementedError(absl::StrCat("tokenizer: the pre-tokenizer \"", name,
                                               "\" is not supported; known: smollm, gpt-2"));
}

PreTokenizer::Character PreTokenizer::At(absl::string_view text, size_t pos) const {
  if (pos >= text.size()) return {kClassOther, 0};
  const Utf8Step step = ReadUtf8(text, pos);
  const uint8_t flags = (*classes_)[step.value];
  if (isolate_digits_ && (flags & kClassDigit)) return {kClassOther, 0};
  return {static_cast<uint8_t>(flags & kExpressionClasses), step.num_bytes};
}

// A run of spaces leaves its last one to the word that follows it.
size_t PreTokenizer::SpaceRunLength(absl::string_view text, size_t pos) const {
  size_t end = pos;
  size_t last = 0;
  Character at = At(text, end);
  while (at.num_bytes > 0 && at.unicode_class == kClassSpace) {
    last = at.num_bytes;
    end += last;
    at = At(text, end);
  }
  const bool word_follows = at.num_bytes > 0;
  if (word_follows && end - last > pos) end -= last;
  return end - pos;
}

size_t PreTokenizer::WordLength(absl::string_view text, size_t pos) const {
  if (text[pos] == '\'') {
    if (const size_t length = ContractionLength(text.substr(pos)); length > 0) return length;
  }
  const Character first = At(text, pos);
  if (first.num_bytes == 0) return ReadUtf8(text, pos).num_bytes;  // an isolated digit
  size_t end = pos + first.num_bytes;
  uint8_t wanted = first.unicode_class;
  if (wanted == kClassSpace) {
    const Character next = At(text, end);
    if (text[pos] != ' ' || next.num_bytes == 0 || next.unicode_class == kClassSpace) {
      return SpaceRunLength(text, pos);
    }
    wanted = next.unicode_class;
  }
  for (Character at = At(text, end); at.num_bytes > 0 && at.unicode_class == wanted;
       at = At(text, end)) {
    end += at.num_bytes;
  }
  return end - pos;
}

}  // namespace tandem
