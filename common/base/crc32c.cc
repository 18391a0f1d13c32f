#include "common/base/crc32c.h"

#include <nmmintrin.h>

#include <array>
#include <cstring>
#include <vector>

#include "common/base/check.h"
#include "common/base/crc32c_paths.h"

namespace tandem {
namespace {

constexpr uint32_t kReflectedPolynomial = 0x82f63b78;

constexpr std::array<uint32_t, 256> MakeTable() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) ? kReflectedPolynomial : 0);
    table[i] = crc;
  }
  return table;
}

constexpr std::array<uint32_t, 256> kTable = MakeTable();

uint32_t ExtendWithTable(uint32_t crc, const uint8_t* data, size_t size) {
  for (size_t i = 0; i < size; ++i) crc = (crc >> 8) ^ kTable[(crc ^ data[i]) & 0xff];
  return crc;
}

// The crc32 instruction takes three cycles but starts one each cycle: three independent streams run
// at full speed. Each stream covers kBytes; to join two, the first's state is moved past the
// second's length, which is linear in its bits, so four tables of 256 entries do it.
template <size_t kBytes>
class ZeroShift {
 public:
  constexpr ZeroShift() {
    std::array<uint32_t, 32> moved{};  // of each single bit
    for (int bit = 0; bit < 32; ++bit) {
      uint32_t crc = uint32_t{1} << bit;
      for (size_t i = 0; i < kBytes; ++i) crc = (crc >> 8) ^ kTable[crc & 0xff];
      moved[bit] = crc;
    }
    for (int byte = 0; byte < 4; ++byte) {
      for (int value = 0; value < 256; ++value) {
        uint32_t sum = 0;
        for (int bit = 0; bit < 8; ++bit) {
          if (value >> bit & 1) sum ^= moved[8 * byte + bit];
        }
        tables_[byte][value] = sum;
      }
    }
  }
  uint32_t operator()(uint32_t crc) const {
    return tables_[0][crc & 0xff] ^ tables_[1][crc >> 8 & 0xff] ^ tables_[2][crc >> 16 & 0xff] ^
           tables_[3][crc >> 24];
  }

 private:
  std::array<std::array<uint32_t, 256>, 4> tables_{};
};

inline uint64_t Load(const uint8_t* data) {
  uint64_t word;
  std::memcpy(&word, data, sizeof(word));
  return word;
}

// As many pieces of 3 * kBytes as there are.
template <size_t kBytes>
__attribute__((target("sse4.2"))) uint32_t ExtendThreefold(uint32_t crc, const uint8_t*& data,
                                                           size_t& size) {
  static constexpr ZeroShift<kBytes> kShift;
  while (size >= 3 * kBytes) {
    uint64_t first = crc, second = 0, third = 0;
    for (size_t i = 0; i < kBytes; i += 8) {
      first = _mm_crc32_u64(first, Load(data + i));
      second = _mm_crc32_u64(second, Load(data + kBytes + i));
      third = _mm_crc32_u64(third, Load(data + 2 * kBytes + i));
    }
    crc = kShift(static_cast<uint32_t>(first)) ^ static_cast<uint32_t>(second);
    crc = kShift(crc) ^ static_cast<uint32_t>(third);
    data += 3 * kBytes;
    size -= 3 * kBytes;
  }
  return crc;
}

uint32_t CopyWithTable(uint32_t crc, const uint8_t* data, size_t size, uint8_t* to) {
  std::memcpy(to, data, size);
  return ExtendWithTable(crc, to, size);
}

std::vector<Crc32cPath> FindSupported() {
  std::vector<Crc32cPath> paths;
  if (HasAvx512Clmul()) paths.push_back({"Avx512Clmul", ExtendWithAvx512, CopyWithAvx512});
  if (HasAvx2Clmul()) paths.push_back({"Avx2Clmul", ExtendWithAvx2, CopyWithAvx2});
  if (__builtin_cpu_supports("sse4.2")) paths.push_back({"Sse42", ExtendWithSse42, CopyWithSse42});
  paths.push_back({"Table", ExtendWithTable, CopyWithTable});
  return paths;
}

}  // namespace

__attribute__((target("sse4.2"))) uint32_t ExtendWithSse42(uint32_t crc, const uint8_t* data,
                                                           size_t size) {
  crc = ExtendThreefold<1024>(crc, data, size);
  crc = ExtendThreefold<64>(crc, data, size);
  uint64_t state = crc;
  for (; size >= 8; data += 8, size -= 8) state = _mm_crc32_u64(state, Load(data));
  crc = static_cast<uint32_t>(state);
  for (; size > 0; --size) crc = _mm_crc32_u8(crc, *data++);
  return crc;
}

uint32_t CopyWithSse42(uint32_t crc, const uint8_t* data, size_t size, uint8_t* to) {
  std::memcpy(to, data, size);
  return ExtendWithSse42(crc, to, size);
}

absl::Span<const Crc32cPath> SupportedCrc32cPaths() {
  static const auto& paths = *new std::vector<Crc32cPath>(FindSupported());
  return paths;
}

uint32_t Crc32c(absl::Span<const std::byte> bytes, uint32_t before) {
  static const auto extend = SupportedCrc32cPaths().front().extend;
  return ~extend(~before, reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
}

uint32_t CopyWithCrc32c(absl::Span<const std::byte> from, absl::Span<std::byte> to) {
  TANDEM_CHECK(from.size() == to.size());
  static const auto copy = SupportedCrc32cPaths().front().copy;
  return ~copy(~0u, reinterpret_cast<const uint8_t*>(from.data()), from.size(),
               reinterpret_cast<uint8_t*>(to.data()));
}

}  // namespace tandem
