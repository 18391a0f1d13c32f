// TokenizerData is what a model file says about its tokenizer: vocabulary, merges, special tokens
// and the chat template. Plain data, read once at start; common/text turns it into a tokenizer.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/base/ids.h"

namespace tandem {

enum class TokenType : uint8_t {
  kNormal,
  kUnknown,
  kControl,      // special; never produced from the text of a request
  kUserDefined,  // added token that plain text may produce
  kUnused,
  kByte,
};

struct TokenizerData {
  std::string model;                // "gpt2": byte-level BPE
  std::string pre_tokenizer;        // "smollm", "gpt-2"
  std::vector<std::string> tokens;  // by id, in the byte-level alphabet for "gpt2"
  std::vector<TokenType> types;     // by id; same length as tokens
  std::vector<std::string> merges;  // "left right", best first
  std::optional<TokenId> bos, eos, unknown, padding;
  std::vector<TokenId> end_of_turn;  // further ids that end generation (eot, eom), without eos
  bool add_bos = false;
  bool add_space_prefix = false;
  std::string chat_template;  // Jinja source; empty: none
};

}  // namespace tandem
