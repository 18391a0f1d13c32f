#include "common/kv/siphash.h"

#include <bit>

namespace tandem {
namespace {

uint64_t LoadLittleEndian(const uint8_t* bytes, size_t n) {
  uint64_t word = 0;
  for (size_t i = 0; i < n; ++i) word |= uint64_t{bytes[i]} << (8 * i);
  return word;
}

class SipState {
 public:
  SipState(uint64_t k0, uint64_t k1)
      : v0_(k0 ^ 0x736f6d6570736575),  // "somepseudorandomlygeneratedbytes"
        v1_(k1 ^ 0x646f72616e646f6d ^ 0xee),
        v2_(k0 ^ 0x6c7967656e657261),
        v3_(k1 ^ 0x7465646279746573) {}

  void Compress(uint64_t word) {
    v3_ ^= word;
    Rounds(2);
    v0_ ^= word;
  }
  uint64_t FirstHalf() {
    v2_ ^= 0xee;
    Rounds(4);
    return v0_ ^ v1_ ^ v2_ ^ v3_;
  }
  uint64_t SecondHalf() {
    v1_ ^= 0xdd;
    Rounds(4);
    return v0_ ^ v1_ ^ v2_ ^ v3_;
  }

 private:
  void Rounds(int n) {
    for (int i = 0; i < n; ++i) {
      v0_ += v1_;
      v2_ += v3_;
      v1_ = std::rotl(v1_, 13) ^ v0_;
      v3_ = std::rotl(v3_, 16) ^ v2_;
      v0_ = std::rotl(v0_, 32);
      v2_ += v1_;
      v0_ += v3_;
      v1_ = std::rotl(v1_, 17) ^ v2_;
      v3_ = std::rotl(v3_, 21) ^ v0_;
      v2_ = std::rotl(v2_, 32);
    }
  }

  uint64_t v0_, v1_, v2_, v3_;
};

}  // namespace

std::array<uint64_t, 2> SipHash128(const std::array<uint8_t, 16>& key,
                                   absl::Span<const uint8_t> message) {
  SipState state(LoadLittleEndian(key.data(), 8), LoadLittleEndian(key.data() + 8, 8));
  const size_t whole = message.size() / 8 * 8;
  for (size_t i = 0; i < whole; i += 8) state.Compress(LoadLittleEndian(&message[i], 8));
  const uint64_t length = uint64_t{message.size()} << 56;
  state.Compress(length | LoadLittleEndian(message.data() + whole, message.size() - whole));
  const uint64_t first = state.FirstHalf();
  return {first, state.SecondHalf()};
}

}  // namespace tandem
