// Writes the first inputs of the GGUF fuzz target: make_gguf_corpus FOLDER. Small models of every
// encoding and some files that are wrong in one way, so that the fuzzer starts beyond the first
// checks.

#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/common/weights/tiny_model.h"

namespace tandem {
namespace {

// A tiny model whose vocabulary has shrunk to four tokens: a byte changed at random should seldom
// hit token text.
GgufWriter SmallWriter(DType dtype, bool tied) {
  constexpr int kVocab = 4;
  TinyModelOptions options;
  options.layers = 1;
  options.hidden = DTypeBlockSize(dtype) == 1 ? 8 : 32;
  options.ffn = options.hidden;
  options.heads = 2;
  options.kv_heads = 2;
  options.vocab = 259;
  options.dtype = dtype;
  options.tied = tied;
  GgufWriter writer = TinyModelWriter(options);
  writer.SetStrings("tokenizer.ggml.tokens", {"<s>", "a", "b", "ab"});
  writer.SetI32s("tokenizer.ggml.token_type", {3, 1, 1, 1});
  writer.SetStrings("tokenizer.ggml.merges", {"a b"});
  writer.SetU32("llama.vocab_size", kVocab);
  writer.SetString("tokenizer.chat_template", "{{ messages }}");
  for (GgufWriter::Tensor& tensor : writer.tensors()) {
    if (tensor.name != "token_embd.weight" && tensor.name != "output.weight") continue;
    tensor.data.resize(tensor.data.size() / tensor.dimensions[1] * kVocab);
    tensor.dimensions[1] = kVocab;
  }
  return writer;
}

int Write(const std::string& folder) {
  bool ok = true;
  const auto write = [&](absl::string_view name, const GgufWriter& writer) {
    const absl::Status status = WriteBytes(absl::StrCat(folder, "/", name), writer.Build());
    if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
    ok = ok && status.ok();
  };
  for (DType dtype :
       {DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0, DType::kQ4_0, DType::kQ4_1}) {
    write(DTypeName(dtype), SmallWriter(dtype, dtype != DType::kF16));
  }
  const auto write_edited = [&](absl::string_view name, std::function<void(GgufWriter&)> edit) {
    GgufWriter writer = SmallWriter(DType::kF16, true);
    edit(writer);
    write(name, writer);
  };
  write_edited("wide_alignment", [](GgufWriter& writer) {
    writer.SetU32("general.alignment", 64);
    writer.set_alignment(64);
  });
  write_edited("nested_array", [](GgufWriter& writer) {
    writer.SetRaw("x", 9,
                  std::string("\x09\0\0\0\x01\0\0\0\0\0\0\0\x08\0\0\0\0\0\0\0\0\0\0\0", 24));
  });
  write_edited("overlap",
               [](GgufWriter& writer) { writer.tensor("output_norm.weight").offset = 32; });
  write_edited("huge_shape", [](GgufWriter& writer) {
    writer.tensor("output_norm.weight").dimensions = {uint64_t{1} << 40, uint64_t{1} << 30};
  });
  return ok ? 0 : 1;
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
    return 2;
  }
  return tandem::Write(argv[1]);
}
