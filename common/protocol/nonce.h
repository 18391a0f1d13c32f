// The only right to write into a request's landing blocks: 128 random bits drawn by the router for
// one (request, epoch, attempt). A new attempt revokes the older.
#pragma once

#include <compare>
#include <cstdint>
#include <utility>

namespace tandem {

struct Nonce {
  uint64_t high = 0;
  uint64_t low = 0;

  friend auto operator<=>(const Nonce&, const Nonce&) = default;
  template <class H>
  friend H AbslHashValue(H h, const Nonce& n) {
    return H::combine(std::move(h), n.high, n.low);
  }
};

}  // namespace tandem
