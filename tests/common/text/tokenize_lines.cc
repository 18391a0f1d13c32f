// Test-only program for compare_with_hf.py: tokenizes or decodes items that arrive on stdin.
//   tandem_tokenize_lines MODEL.gguf MODE PRE
// PRE is the pre-tokenizer to use, "-" for the file's own.
// Items are framed by a little-endian 32-bit count. MODE "trusted" and "plain": bytes in, ids out
// (32 bits each); "decode" and "decode-all" (with special tokens): ids in, bytes out; "segments":
// bytes in, in which the byte 0xFF changes between untrusted (first) and trusted text, ids out.

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "common/text/detokenizer.h"
#include "common/text/tokenizer.h"
#include "common/weights/model_file.h"

namespace tandem {
namespace {

template <class Container>
bool ReadItem(Container& item) {
  uint32_t count = 0;
  if (std::fread(&count, sizeof(count), 1, stdin) != 1) return false;
  item.resize(count);
  return std::fread(item.data(), sizeof(item[0]), count, stdin) == count;
}

template <class Container>
void WriteItem(const Container& item) {
  const uint32_t count = static_cast<uint32_t>(item.size());
  std::fwrite(&count, sizeof(count), 1, stdout);
  std::fwrite(item.data(), sizeof(item[0]), count, stdout);
}

std::vector<Segment> CutAtMarks(const std::string& bytes) {
  std::vector<Segment> segments(1);
  for (const char c : bytes) {
    if (c == '\xFF') {
      segments.push_back(Segment{"", !segments.back().trusted});
    } else {
      segments.back().text.push_back(c);
    }
  }
  return segments;
}

std::vector<TokenId> Tokenize(const Tokenizer& tokenizer, const std::string& mode,
                              const std::string& bytes) {
  if (mode == "trusted") return tokenizer.EncodeTrusted(bytes);
  if (mode == "segments") return tokenizer.EncodeWithSpecials(CutAtMarks(bytes));
  return tokenizer.Encode(bytes);
}

int Run(const char* path, const std::string& mode, const std::string& pre) {
  const auto model = ModelFile::Open(path);
  if (!model.ok()) {
    std::fprintf(stderr, "%s\n", model.status().ToString().c_str());
    return 1;
  }
  TokenizerData data = (*model)->tokenizer();
  if (pre != "-") data.pre_tokenizer = pre;
  const auto tokenizer = Tokenizer::Create(data);
  if (!tokenizer.ok()) {
    std::fprintf(stderr, "%s\n", tokenizer.status().ToString().c_str());
    return 1;
  }
  if (mode == "decode" || mode == "decode-all") {
    for (std::vector<TokenId> ids; ReadItem(ids);) {
      WriteItem(Decode(*tokenizer, ids, /*skip_special_tokens=*/mode == "decode"));
    }
  } else {
    for (std::string bytes; ReadItem(bytes);) WriteItem(Tokenize(*tokenizer, mode, bytes));
  }
  return 0;
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: %s MODEL.gguf trusted|plain|segments|decode|decode-all PRE\n",
                 argv[0]);
    return 2;
  }
  return tandem::Run(argv[1], argv[2], argv[3]);
}
