#include "common/text/tokenizer.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/text/byte_alphabet.h"
#include "common/text/byte_pair_merger.h"
#include "common/text/pre_tokenizer.h"
#include "common/text/special_tokens.h"
#include "common/text/utf8.h"

namespace tandem {
namespace {

// A stretch of the text with one origin; it starts where the one before it ends.
struct Stretch {
  size_t end;
  bool trusted;
};

bool IsControlType(TokenType type) {
  return type == TokenType::kControl || type == TokenType::kUnknown;
}

absl::Status CheckIds(const TokenizerData& data) {
  const auto check = [&](TokenId id, absl::string_view name) {
    if (id >= 0 && static_cast<size_t>(id) < data.tokens.size()) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("tokenizer: the ", name, " token id ", id,
                                                   " is outside the vocabulary of ",
                                                   data.tokens.size()));
  };
  if (data.bos) RETURN_IF_ERROR(check(*data.bos, "bos"));
  if (data.eos) RETURN_IF_ERROR(check(*data.eos, "eos"));
  for (const TokenId id : data.end_of_turn) RETURN_IF_ERROR(check(id, "end-of-turn"));
  return absl::OkStatus();
}

}  // namespace

struct Tokenizer::Rep {
  Rep(PreTokenizer pre, BytePairMerger merges) : pre_tokenizer(pre), merger(std::move(merges)) {}

  void EncodePlain(absl::string_view text, std::vector<TokenId>& out) const {
    for (size_t pos = 0; pos < text.size();) {
      const size_t length = pre_tokenizer.WordLength(text, pos);
      merger.Split(text.substr(pos, length), out);
      pos += length;
    }
  }

  // `stretches` cover `text`, which is UTF-8.
  std::vector<TokenId> Encode(absl::string_view text, absl::Span<const Stretch> stretches) const {
    std::vector<TokenId> out;
    out.reserve(text.size() / 3);
    size_t plain_begin = 0;  // of the text between two recognised tokens
    size_t pos = 0;
    for (const Stretch& stretch : stretches) {
      while (pos < stretch.end) {
        const auto match = special_tokens.FindNext(text, pos, stretch.end, stretch.trusted);
        if (!match) break;
        EncodePlain(text.substr(plain_begin, match->begin - plain_begin), out);
        out.push_back(match->id);
        plain_begin = pos = match->end;
      }
      pos = std::max(pos, stretch.end);
    }
    EncodePlain(text.substr(plain_begin), out);
    return out;
  }

  PreTokenizer pre_tokenizer;
  BytePairMerger merger;
  SpecialTokens special_tokens;
  std::vector<std::string> bytes;  // by id
  std::vector<bool> is_control;    // by id
  std::optional<TokenId> bos, eos;
  std::vector<TokenId> stop_ids;
  bool add_bos = false;
};

absl::StatusOr<Tokenizer> Tokenizer::Create(const TokenizerData& data) {
  if (data.model != "gpt2") {
    return absl::UnimplementedError(
        absl::StrCat("tokenizer: the model \"", data.model,
                     "\" is not supported; known: gpt2 (byte-level BPE)"));
  }
  if (data.add_space_prefix) {
    return absl::UnimplementedError("tokenizer: a space before the text is not supported");
  }
  if (data.types.size() != data.tokens.size()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "tokenizer: ", data.tokens.size(), " tokens but ", data.types.size(), " token types"));
  }
  RETURN_IF_ERROR(CheckIds(data));
  ASSIGN_OR_RETURN(PreTokenizer pre_tokenizer, PreTokenizer::Create(data.pre_tokenizer));
  ASSIGN_OR_RETURN(BytePairMerger merger, BytePairMerger::Create(data.tokens, data.merges));

  auto rep = std::make_unique<Rep>(pre_tokenizer, std::move(merger));
  rep->bytes.reserve(data.tokens.size());
  rep->is_control.reserve(data.tokens.size());
  for (size_t i = 0; i < data.tokens.size(); ++i) {
    const bool control = IsControlType(data.types[i]);
    rep->bytes.push_back(BytesOfToken(data.tokens[i]));
    rep->is_control.push_back(control);
    if (control || data.types[i] == TokenType::kUserDefined) {
      rep->special_tokens.Add(data.tokens[i], static_cast<TokenId>(i), control);
    }
  }
  rep->bos = data.bos;
  rep->eos = data.eos;
  rep->add_bos = data.add_bos && data.bos.has_value();
  if (data.eos) rep->stop_ids.push_back(*data.eos);
  for (const TokenId id : data.end_of_turn) {
    if (std::find(rep->stop_ids.begin(), rep->stop_ids.end(), id) == rep->stop_ids.end()) {
      rep->stop_ids.push_back(id);
    }
  }
  return Tokenizer(std::move(rep));
}

Tokenizer::Tokenizer(std::unique_ptr<const Rep> rep) : rep_(std::move(rep)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

std::vector<TokenId> Tokenizer::Encode(absl::string_view text) const {
  if (!IsWellFormedUtf8(text)) return Encode(ReplaceIllFormed(text));
  return rep_->Encode(text, {Stretch{text.size(), /*trusted=*/false}});
}

std::vector<TokenId> Tokenizer::EncodeTrusted(absl::string_view text) const {
  if (!IsWellFormedUtf8(text)) return EncodeTrusted(ReplaceIllFormed(text));
  return rep_->Encode(text, {Stretch{text.size(), /*trusted=*/true}});
}

std::vector<TokenId> Tokenizer::EncodeWithSpecials(absl::Span<const Segment> segments) const {
  std::string text;
  std::vector<Stretch> stretches;
  for (const Segment& segment : segments) {
    text += IsWellFormedUtf8(segment.text) ? segment.text : ReplaceIllFormed(segment.text);
    if (!stretches.empty() && stretches.back().trusted == segment.trusted) {
      stretches.back().end = text.size();
    } else {
      stretches.push_back(Stretch{text.size(), segment.trusted});
    }
  }
  return rep_->Encode(text, stretches);
}

absl::string_view Tokenizer::TokenBytes(TokenId id) const {
  return IsValid(id) ? absl::string_view(rep_->bytes[static_cast<size_t>(id)])
                     : absl::string_view();
}

bool Tokenizer::IsControl(TokenId id) const {
  return IsValid(id) && rep_->is_control[static_cast<size_t>(id)];
}

std::optional<TokenId> Tokenizer::Find(absl::string_view special) const {
  return rep_->special_tokens.Find(special);
}

size_t Tokenizer::vocab_size() const { return rep_->bytes.size(); }
std::optional<TokenId> Tokenizer::bos() const { return rep_->bos; }
std::optional<TokenId> Tokenizer::eos() const { return rep_->eos; }
absl::Span<const TokenId> Tokenizer::stop_ids() const { return rep_->stop_ids; }
bool Tokenizer::add_bos() const { return rep_->add_bos; }

}  // namespace tandem
