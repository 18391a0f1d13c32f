#include "tests/common/weights/tiny_model.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"

namespace tandem {
namespace {

constexpr int kSpecials = kTinyFirstByte;
constexpr int kByteSymbols = 256;

// SplitMix64: the standard library's distributions differ between implementations.
class WeightSource {
 public:
  explicit WeightSource(uint64_t seed) : state_(seed) {}

  // Uniform, with the given mean and standard deviation.
  std::vector<float> Draw(int64_t count, float mean, float deviation) {
    std::vector<float> values(static_cast<size_t>(count));
    const double width = deviation * std::sqrt(12.0);
    for (float& value : values) {
      const double unit = static_cast<double>(Next() >> 11) * 0x1p-53 - 0.5;
      value = static_cast<float>(mean + unit * width);
    }
    return values;
  }

 private:
  uint64_t Next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }

  uint64_t state_;
};

std::string Utf8Of(int code_point) {  // of two bytes at most
  if (code_point < 0x80) return std::string(1, static_cast<char>(code_point));
  return {static_cast<char>(0xc0 | (code_point >> 6)),
          static_cast<char>(0x80 | (code_point & 0x3f))};
}

// The byte-level alphabet: printable bytes stand for themselves, the others follow from U+0100 on.
std::string ByteSymbol(int byte) {
  const auto printable = [](int b) {
    return (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || (b >= 0xae && b <= 0xff);
  };
  if (printable(byte)) return Utf8Of(byte);
  int rank = 0;
  for (int b = 0; b < byte; ++b) rank += printable(b) ? 0 : 1;
  return Utf8Of(0x100 + rank);
}

// Best first: some of English, then pairs of lower-case letters until `count`; shorter when those
// run out.
std::vector<std::pair<std::string, std::string>> Merges(size_t count) {
  const std::string space = ByteSymbol(' ');
  std::vector<std::pair<std::string, std::string>> merges = {
      {space, "t"}, {space, "a"},        {"h", "e"}, {"i", "n"}, {space, "s"}, {"r", "e"},
      {"o", "n"},   {space + "t", "he"}, {"e", "r"}, {"o", "u"}, {"l", "l"},   {"a", "t"}};
  const size_t english = merges.size();
  for (char left = 'a'; left <= 'z'; ++left) {
    for (char right = 'a'; right <= 'z'; ++right) {
      const std::pair<std::string, std::string> pair(std::string(1, left), std::string(1, right));
      bool known = false;
      for (size_t i = 0; i < english; ++i) known |= merges[i] == pair;
      if (!known) merges.push_back(pair);
    }
  }
  if (merges.size() > count) merges.resize(count);
  return merges;
}

void WriteTokenizer(int vocab, GgufWriter& writer) {
  TANDEM_CHECK(vocab >= kSpecials + kByteSymbols);
  std::vector<std::string> tokens = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
  for (int byte = 0; byte < kByteSymbols; ++byte) tokens.push_back(ByteSymbol(byte));
  std::vector<std::string> merges;
  for (const auto& [left, right] : Merges(static_cast<size_t>(vocab) - tokens.size())) {
    tokens.push_back(left + right);
    merges.push_back(absl::StrCat(left, " ", right));
  }
  std::vector<int32_t> types(tokens.size(), 1);
  for (int id = 0; id < kSpecials; ++id) types[id] = 3;
  while (static_cast<int>(tokens.size()) < vocab) {
    tokens.push_back(absl::StrCat("[PAD", tokens.size(), "]"));
    types.push_back(5);
  }
  writer.SetString("tokenizer.ggml.model", "gpt2");
  writer.SetString("tokenizer.ggml.pre", "smollm");
  writer.SetStrings("tokenizer.ggml.tokens", tokens);
  writer.SetI32s("tokenizer.ggml.token_type", types);
  writer.SetStrings("tokenizer.ggml.merges", merges);
  writer.SetU32("tokenizer.ggml.bos_token_id", kTinyTurnStart);
  writer.SetU32("tokenizer.ggml.eos_token_id", kTinyTurnEnd);
  writer.SetU32("tokenizer.ggml.unknown_token_id", kTinyEndOfText);
  writer.SetU32("tokenizer.ggml.padding_token_id", kTinyTurnEnd);
  writer.SetBool("tokenizer.ggml.add_bos_token", false);
  writer.SetBool("tokenizer.ggml.add_space_prefix", false);
  writer.SetString("tokenizer.chat_template",
                   "{% for message in messages %}"
                   "{% if loop.first and messages[0]['role'] != 'system' %}"
                   "{{ '<|im_start|>system\\nYou are a tiny test model<|im_end|>\\n' }}{% endif %}"
                   "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + "
                   "'<|im_end|>' + '\\n'}}{% endfor %}"
                   "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}");
}

void WriteWeights(const TinyModelOptions& options, GgufWriter& writer) {
  WeightSource source(options.seed);
  const int head_dim = options.hidden / options.heads;
  const auto matrix = [&](absl::string_view name, int cols, int rows, float gain) {
    const float deviation = gain / std::sqrt(static_cast<float>(cols));
    writer.AddWeights(name, options.dtype, cols, rows,
                      source.Draw(int64_t{cols} * rows, 0.0f, deviation));
  };
  const auto norm = [&](absl::string_view name) {
    writer.AddWeights(name, DType::kF32, options.hidden, 0,
                      source.Draw(options.hidden, 1.0f, 0.1f));
  };
  matrix("token_embd.weight", options.hidden, options.vocab, 2.0f);
  for (int layer = 0; layer < options.layers; ++layer) {
    const auto name = [layer](absl::string_view role) {
      return absl::StrCat("blk.", layer, ".", role, ".weight");
    };
    norm(name("attn_norm"));
    matrix(name("attn_q"), options.hidden, options.hidden, 1.5f);
    matrix(name("attn_k"), options.hidden, options.kv_heads * head_dim, 1.5f);
    matrix(name("attn_v"), options.hidden, options.kv_heads * head_dim, 1.0f);
    matrix(name("attn_output"), options.hidden, options.hidden, 1.0f);
    norm(name("ffn_norm"));
    matrix(name("ffn_gate"), options.hidden, options.ffn, 1.0f);
    matrix(name("ffn_up"), options.hidden, options.ffn, 1.0f);
    matrix(name("ffn_down"), options.ffn, options.hidden, 1.0f);
  }
  norm("output_norm.weight");
  if (!options.tied) matrix("output.weight", options.hidden, options.vocab, 2.0f);
}

}  // namespace

GgufWriter TinyModelWriter(const TinyModelOptions& options) {
  GgufWriter writer;
  writer.SetString("general.architecture", "llama");
  writer.SetString("general.name", "tiny");
  writer.SetU32("llama.block_count", options.layers);
  writer.SetU32("llama.context_length", options.context);
  writer.SetU32("llama.embedding_length", options.hidden);
  writer.SetU32("llama.feed_forward_length", options.ffn);
  writer.SetU32("llama.attention.head_count", options.heads);
  writer.SetU32("llama.attention.head_count_kv", options.kv_heads);
  writer.SetF32("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  writer.SetF32("llama.rope.freq_base", 10000.0f);
  writer.SetU32("llama.vocab_size", options.vocab);
  WriteTokenizer(options.vocab, writer);
  WriteWeights(options, writer);
  return writer;
}

std::vector<std::byte> TinyModelBytes(const TinyModelOptions& options) {
  return TinyModelWriter(options).Build();
}

absl::Status WriteTinyModel(const std::string& path, const TinyModelOptions& options) {
  return WriteBytes(path, TinyModelBytes(options));
}

}  // namespace tandem
