#include "common/weights/fingerprint.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>
#include <vector>

#include "absl/strings/str_format.h"

namespace tandem {
namespace {

// Odd, with mixed bits; the values are part of the fingerprint's definition.
constexpr uint64_t kLowFactor = 0x9e3779b97f4a7c15;
constexpr uint64_t kHighFactor = 0xc2b2ae3d27d4eb4f;
constexpr uint64_t kVersion = 1;  // raised when the definition changes

uint64_t Fold(uint64_t a, uint64_t b) {
  const unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

uint64_t IdOrNone(std::optional<TokenId> id) {
  return id.has_value() ? static_cast<uint64_t>(*id) : ~uint64_t{0};
}

void AddConfig(Digest128& digest, const ModelConfig& config) {
  digest.AddText(config.architecture);
  for (int value : {config.num_layers, config.hidden_size, config.ffn_size, config.num_heads,
                    config.num_kv_heads, config.head_dim, config.rope_dim, config.vocab_size}) {
    digest.AddInteger(static_cast<uint64_t>(value));
  }
  digest.AddInteger(std::bit_cast<uint32_t>(config.rope_theta));
  digest.AddInteger(std::bit_cast<uint32_t>(config.rms_norm_eps));
}

void AddTokenizer(Digest128& digest, const TokenizerData& tokenizer) {
  digest.AddText(tokenizer.model);
  digest.AddText(tokenizer.pre_tokenizer);
  digest.AddInteger(tokenizer.tokens.size());
  for (const std::string& token : tokenizer.tokens) digest.AddText(token);
  for (TokenType type : tokenizer.types) digest.AddInteger(static_cast<uint64_t>(type));
  digest.AddInteger(tokenizer.merges.size());
  for (const std::string& merge : tokenizer.merges) digest.AddText(merge);
  for (const auto& id : {tokenizer.bos, tokenizer.eos, tokenizer.unknown, tokenizer.padding}) {
    digest.AddInteger(IdOrNone(id));
  }
  digest.AddInteger(tokenizer.end_of_turn.size());
  for (TokenId id : tokenizer.end_of_turn) digest.AddInteger(static_cast<uint64_t>(id));
  digest.AddInteger(tokenizer.add_bos);
  digest.AddInteger(tokenizer.add_space_prefix);
}

}  // namespace

void Digest128::Absorb(uint64_t word) {
  low_ = Fold(low_ ^ word, kLowFactor) + kHighFactor;
  high_ = Fold(high_ ^ word, kHighFactor) + kLowFactor;
}

void Digest128::AddInteger(uint64_t value) { Absorb(value); }

void Digest128::AddBytes(absl::Span<const std::byte> bytes) {
  Absorb(bytes.size());
  const std::byte* data = bytes.data();
  size_t left = bytes.size();
  uint64_t word;
  for (; left >= sizeof(word); left -= sizeof(word), data += sizeof(word)) {
    std::memcpy(&word, data, sizeof(word));
    Absorb(word);
  }
  if (left > 0) {
    word = 0;
    std::memcpy(&word, data, left);
    Absorb(word);
  }
}

void Digest128::AddText(absl::string_view text) {
  AddBytes(absl::MakeConstSpan(reinterpret_cast<const std::byte*>(text.data()), text.size()));
}

std::string Digest128::Hex() const {
  // The last word absorbed has been through one multiplication only: mix once more, each lane with
  // the other.
  const uint64_t low = Fold(low_ ^ std::rotl(high_, 32), kHighFactor);
  const uint64_t high = Fold(high_ ^ std::rotl(low_, 32), kLowFactor);
  return absl::StrFormat("%016x%016x", high, low);
}

std::string ModelFingerprint(const ModelConfig& config, const TokenizerData& tokenizer,
                             absl::Span<const TensorView> tensors) {
  Digest128 digest;
  digest.AddInteger(kVersion);
  AddConfig(digest, config);
  AddTokenizer(digest, tokenizer);
  std::vector<const TensorView*> by_name;
  by_name.reserve(tensors.size());
  for (const TensorView& tensor : tensors) by_name.push_back(&tensor);
  std::sort(by_name.begin(), by_name.end(),
            [](const TensorView* a, const TensorView* b) { return a->name < b->name; });
  for (const TensorView* tensor : by_name) {
    digest.AddText(tensor->name);
    digest.AddInteger(static_cast<uint64_t>(tensor->type));
    digest.AddInteger(static_cast<uint64_t>(tensor->rows));
    digest.AddInteger(static_cast<uint64_t>(tensor->cols));
    digest.AddBytes(tensor->data);
  }
  return digest.Hex();
}

}  // namespace tandem
