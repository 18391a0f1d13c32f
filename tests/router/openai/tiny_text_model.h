// A model's text side small enough for unit tests: one token per byte (id = byte), plus
// 256 "<|end|>" (control, end of sequence) and 257 "hello" (one token of five bytes).
#pragma once

#include <string>

#include "common/text/tokenizer.h"
#include "common/weights/tokenizer_data.h"

namespace tandem {

inline constexpr TokenId kTinyEnd = 256;
inline constexpr TokenId kTinyHello = 257;

inline void AppendUtf8(uint32_t code_point, std::string* text) {
  if (code_point < 0x80) {
    text->push_back(static_cast<char>(code_point));
  } else {
    text->push_back(static_cast<char>(0xC0 | (code_point >> 6)));
    text->push_back(static_cast<char>(0x80 | (code_point & 0x3F)));
  }
}

inline Tokenizer TinyTokenizer() {
  TokenizerData data;
  data.model = "gpt2";
  data.pre_tokenizer = "gpt-2";
  // The byte-level alphabet: printable bytes stand for themselves, the others for U+0100 onward.
  uint32_t next = 0x100;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const bool printable =
        (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    std::string symbol;
    AppendUtf8(printable ? byte : next++, &symbol);
    data.tokens.push_back(symbol);
    data.types.push_back(TokenType::kNormal);
  }
  data.tokens.push_back("<|end|>");
  data.types.push_back(TokenType::kControl);
  data.tokens.push_back("hello");
  data.types.push_back(TokenType::kNormal);
  data.eos = kTinyEnd;
  return *Tokenizer::Create(data);
}

}  // namespace tandem
