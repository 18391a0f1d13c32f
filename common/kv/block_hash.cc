#include "common/kv/block_hash.h"

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/kv/block_size.h"
#include "common/kv/siphash.h"

namespace tandem {
namespace {

// The first byte of what is hashed: a salt cannot be chosen so that a root takes the name of a
// block.
constexpr uint8_t kBlockDomain = 1;
constexpr uint8_t kRootDomain = 2;

class Message {
 public:
  explicit Message(uint8_t domain, size_t expected_bytes) {
    bytes_.reserve(expected_bytes);
    bytes_.push_back(domain);
  }
  void AddInteger(uint64_t value, size_t bytes) {
    for (size_t i = 0; i < bytes; ++i) bytes_.push_back(static_cast<uint8_t>(value >> (8 * i)));
  }
  // With its length, so that no two lists of texts give the same bytes.
  void AddText(absl::string_view text) {
    AddInteger(text.size(), 8);
    bytes_.insert(bytes_.end(), text.begin(), text.end());
  }
  BlockHash Hash(const HashSecret& secret) const {
    const auto [low, high] = SipHash128(secret, bytes_);
    return {.high = high, .low = low};
  }

 private:
  std::vector<uint8_t> bytes_;
};

}  // namespace

std::string BlockHash::ToHex() const {
  return absl::StrCat(absl::Hex(high, absl::kZeroPad16), absl::Hex(low, absl::kZeroPad16));
}

BlockHash HashRoot(const HashSecret& secret, absl::string_view cache_salt,
                   absl::string_view model_fingerprint, absl::string_view numeric_profile) {
  Message message(kRootDomain,
                  32 + cache_salt.size() + model_fingerprint.size() + numeric_profile.size());
  message.AddText(cache_salt);
  message.AddText(model_fingerprint);
  message.AddText(numeric_profile);
  return message.Hash(secret);
}

BlockHash HashBlock(const HashSecret& secret, const BlockHash& parent,
                    absl::Span<const TokenId> tokens) {
  TANDEM_CHECK(tokens.size() == kBlockTokens);
  Message message(kBlockDomain, 17 + 4 * kBlockTokens);
  message.AddInteger(parent.low, 8);
  message.AddInteger(parent.high, 8);
  for (const TokenId token : tokens) message.AddInteger(static_cast<uint32_t>(token), 4);
  return message.Hash(secret);
}

std::vector<BlockHash> HashBlocks(const HashSecret& secret, const BlockHash& root,
                                  absl::Span<const TokenId> tokens) {
  std::vector<BlockHash> hashes;
  hashes.reserve(tokens.size() / kBlockTokens);
  BlockHash parent = root;
  for (size_t i = 0; i + kBlockTokens <= tokens.size(); i += kBlockTokens) {
    parent = HashBlock(secret, parent, tokens.subspan(i, kBlockTokens));
    hashes.push_back(parent);
  }
  return hashes;
}

}  // namespace tandem
