// A byte-level vocabulary small enough to follow by hand, for tests that need no model file.
#pragma once

#include <string>
#include <vector>

#include "common/text/byte_alphabet.h"
#include "common/weights/tokenizer_data.h"

namespace tandem {

inline constexpr TokenId kSmallStart = 0, kSmallEnd = 1, kSmallAdded = 2;

// Control tokens <|start|> and <|end|>, the added token <added>, all bytes but 0x01, and the merges
// h e, l l, he ll, hell o, Ġ hello (Ġ is a space).
inline TokenizerData SmallTokenizerData() {
  TokenizerData data;
  data.model = "gpt2";
  data.pre_tokenizer = "smollm";
  data.tokens = {"<|start|>", "<|end|>", "<added>"};
  data.types = {TokenType::kControl, TokenType::kControl, TokenType::kUserDefined};
  for (int byte = 0; byte < 256; ++byte) {
    if (byte != 1) data.tokens.push_back(SpellByte(static_cast<uint8_t>(byte)));
  }
  const std::string space = SpellByte(' ');
  for (const std::string& merged : {std::string("he"), std::string("ll"), std::string("hell"),
                                    std::string("hello"), space + "hello"}) {
    data.tokens.push_back(merged);
  }
  data.merges = {"h e", "l l", "he ll", "hell o", space + " hello"};
  data.types.resize(data.tokens.size(), TokenType::kNormal);
  data.bos = kSmallStart;
  data.eos = kSmallEnd;
  return data;
}

}  // namespace tandem
