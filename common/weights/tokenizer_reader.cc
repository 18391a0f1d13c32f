#include "common/weights/tokenizer_reader.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace tandem {
namespace {

constexpr absl::string_view kTokensKey = "tokenizer.ggml.tokens";
constexpr absl::string_view kTypesKey = "tokenizer.ggml.token_type";
constexpr absl::string_view kMergesKey = "tokenizer.ggml.merges";

absl::Status Invalid(absl::string_view key, absl::string_view what) {
  return KeyError(absl::StatusCode::kInvalidArgument, key, what);
}

absl::Status CheckDistinct(const std::vector<std::string>& tokens) {
  absl::flat_hash_map<absl::string_view, size_t> ids;
  ids.reserve(tokens.size());
  for (size_t id = 0; id < tokens.size(); ++id) {
    const auto [it, inserted] = ids.emplace(tokens[id], id);
    if (!inserted) {
      return Invalid(kTokensKey, absl::StrCat("tokens ", it->second, " and ", id, " are both ",
                                              QuotedName(tokens[id])));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<TokenType>> ReadTypes(const GgufMetadata& metadata, size_t num_tokens) {
  if (metadata.Find(kTypesKey) == nullptr) {
    return std::vector<TokenType>(num_tokens, TokenType::kNormal);
  }
  ASSIGN_OR_RETURN(const std::vector<int64_t> numbers, metadata.IntegerArrayOrEmpty(kTypesKey));
  if (numbers.size() != num_tokens) {
    return Invalid(kTypesKey,
                   absl::StrCat(numbers.size(), " elements for ", num_tokens, " tokens"));
  }
  // In GGUF's order; its 0 means "not stated".
  constexpr TokenType kByNumber[] = {
      TokenType::kNormal,      TokenType::kNormal, TokenType::kUnknown, TokenType::kControl,
      TokenType::kUserDefined, TokenType::kUnused, TokenType::kByte};
  std::vector<TokenType> types;
  types.reserve(num_tokens);
  for (size_t id = 0; id < num_tokens; ++id) {
    if (numbers[id] < 0 || numbers[id] >= static_cast<int64_t>(std::size(kByNumber))) {
      return Invalid(kTypesKey, absl::StrCat("token ", id, " has the unknown type ", numbers[id]));
    }
    types.push_back(kByNumber[numbers[id]]);
  }
  return types;
}

absl::Status CheckMerges(const std::vector<std::string>& merges) {
  for (size_t i = 0; i < merges.size(); ++i) {
    // Both sides hold at least one byte; a left side that begins with a space is possible.
    const size_t space = merges[i].find(' ', 1);
    if (space == std::string::npos || space + 1 == merges[i].size()) {
      return Invalid(kMergesKey,
                     absl::StrCat("element ", i, " ", QuotedName(merges[i]), " is no pair"));
    }
  }
  return absl::OkStatus();
}

absl::Status ReadId(const GgufMetadata& metadata, absl::string_view key, size_t num_tokens,
                    std::optional<TokenId>& id) {
  ASSIGN_OR_RETURN(const std::optional<int64_t> value,
                   metadata.OptionalInteger(key, 0, static_cast<int64_t>(num_tokens) - 1));
  if (value.has_value()) id = static_cast<TokenId>(*value);
  return absl::OkStatus();
}

absl::Status ReadSpecialIds(const GgufMetadata& metadata, TokenizerData& data) {
  const size_t size = data.tokens.size();
  RETURN_IF_ERROR(ReadId(metadata, "tokenizer.ggml.bos_token_id", size, data.bos));
  RETURN_IF_ERROR(ReadId(metadata, "tokenizer.ggml.eos_token_id", size, data.eos));
  RETURN_IF_ERROR(ReadId(metadata, "tokenizer.ggml.unknown_token_id", size, data.unknown));
  RETURN_IF_ERROR(ReadId(metadata, "tokenizer.ggml.padding_token_id", size, data.padding));
  for (absl::string_view key : {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"}) {
    std::optional<TokenId> id;
    RETURN_IF_ERROR(ReadId(metadata, key, size, id));
    if (!id.has_value() || id == data.eos) continue;
    if (std::find(data.end_of_turn.begin(), data.end_of_turn.end(), *id) ==
        data.end_of_turn.end()) {
      data.end_of_turn.push_back(*id);
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TokenizerData> ReadTokenizerData(const GgufMetadata& metadata) {
  TokenizerData data;
  ASSIGN_OR_RETURN(data.model, metadata.String("tokenizer.ggml.model"));
  ASSIGN_OR_RETURN(std::optional<std::string> pre, metadata.OptionalString("tokenizer.ggml.pre"));
  data.pre_tokenizer = std::move(pre).value_or("");
  ASSIGN_OR_RETURN(data.tokens, metadata.StringArrayOrEmpty(kTokensKey));
  if (data.tokens.empty()) return Invalid(kTokensKey, "missing or empty");
  RETURN_IF_ERROR(CheckDistinct(data.tokens));
  ASSIGN_OR_RETURN(data.types, ReadTypes(metadata, data.tokens.size()));
  ASSIGN_OR_RETURN(data.merges, metadata.StringArrayOrEmpty(kMergesKey));
  RETURN_IF_ERROR(CheckMerges(data.merges));
  RETURN_IF_ERROR(ReadSpecialIds(metadata, data));
  // SentencePiece models ("llama") begin with BOS and a space unless the file says otherwise, BPE
  // models do not.
  const bool sentence_piece = data.model == "llama";
  ASSIGN_OR_RETURN(const std::optional<bool> add_bos,
                   metadata.OptionalBool("tokenizer.ggml.add_bos_token"));
  data.add_bos = add_bos.value_or(sentence_piece);
  ASSIGN_OR_RETURN(const std::optional<bool> add_space_prefix,
                   metadata.OptionalBool("tokenizer.ggml.add_space_prefix"));
  data.add_space_prefix = add_space_prefix.value_or(sentence_piece);
  if (data.add_bos && !data.bos.has_value()) {
    return Invalid("tokenizer.ggml.add_bos_token", "set, but there is no bos_token_id");
  }
  ASSIGN_OR_RETURN(std::optional<std::string> chat_template,
                   metadata.OptionalString("tokenizer.chat_template"));
  data.chat_template = std::move(chat_template).value_or("");
  return data;
}

}  // namespace tandem
