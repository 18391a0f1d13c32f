// Tokenizer turns text into token ids and back into bytes: byte-level BPE exactly as the Hugging
// Face `tokenizers` package does it for the pre-tokenizers "smollm" and "gpt-2". Built once from
// what the model file says. Immutable after Create, so every method is thread-safe. Movable; movers
// must be alone with it. Not for streams of output tokens: see detokenizer.h.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/base/ids.h"
#include "common/text/segment.h"
#include "common/weights/tokenizer_data.h"

namespace tandem {

class Tokenizer {
 public:
  // UNIMPLEMENTED for a model or pre-tokenizer that is not known, INVALID_ARGUMENT for data that
  // contradicts itself.
  static absl::StatusOr<Tokenizer> Create(const TokenizerData& data);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  // Text of a request: control tokens are never recognised, user-defined added tokens are. Bytes
  // that are not UTF-8 count as U+FFFD, one per maximal ill-formed part. Bytes for which the
  // vocabulary has no symbol are dropped, as the reference does. No BOS is added.
  std::vector<TokenId> Encode(absl::string_view text) const;

  // The ids of the concatenated texts. A control token is recognised only where all its bytes are
  // trusted; apart from that the borders between segments have no effect.
  std::vector<TokenId> EncodeWithSpecials(absl::Span<const Segment> segments) const;

  // All of `text` is trusted: what the reference's encode() gives. For raw prompts
  // (/v1/completions).
  std::vector<TokenId> EncodeTrusted(absl::string_view text) const;

  // The bytes a token stands for; not always UTF-8 on their own. Empty for an id outside the
  // vocabulary.
  absl::string_view TokenBytes(TokenId id) const;
  bool IsControl(TokenId id) const;
  // The id of a control or user-defined token by its text, such as "<|im_end|>".
  std::optional<TokenId> Find(absl::string_view special) const;

  size_t vocab_size() const;
  bool IsValid(TokenId id) const { return id >= 0 && static_cast<size_t>(id) < vocab_size(); }
  std::optional<TokenId> bos() const;
  std::optional<TokenId> eos() const;
  // Every id that ends a generation: eos first, then the model's other end-of-turn ids; no
  // duplicates.
  absl::Span<const TokenId> stop_ids() const;
  bool add_bos() const;  // whether raw prompts start with bos()

 private:
  struct Rep;
  explicit Tokenizer(std::unique_ptr<const Rep> rep);
  std::unique_ptr<const Rep> rep_;
};

}  // namespace tandem
