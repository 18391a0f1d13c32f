// PreTokenizer cuts text into the words that byte-pair merging works on; merges never cross a cut.
// Immutable, thread-safe.
#pragma once

#include <cstddef>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/text/unicode_classes.h"

namespace tandem {

class PreTokenizer {
 public:
  // "gpt-2": the GPT-2 expression
  //   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
  // "smollm": every digit alone first, then the same expression on what lies between.
  static absl::StatusOr<PreTokenizer> Create(absl::string_view name);

  // The number of bytes of the word at `pos`, at least 1: the words of `text` are found by calling
  // this until the end. REQUIRES: `text` is UTF-8 and pos < text.size() is the start of a word.
  size_t WordLength(absl::string_view text, size_t pos) const;

 private:
  explicit PreTokenizer(bool isolate_digits)
      : isolate_digits_(isolate_digits), classes_(&UnicodeClassTable::Get()) {}

  struct Character {
    uint8_t unicode_class;
    size_t num_bytes;  // 0: the end of what the expression can see
  };
  Character At(absl::string_view text, size_t pos) const;
  size_t SpaceRunLength(absl::string_view text, size_t pos) const;

  bool isolate_digits_;
  const UnicodeClassTable* classes_;
};

}  // namespace tandem
