// EarlyOffers: Offers whose nonce is not known (yet). The order to fill goes to both workers at
// once, and the prefill worker's Offer may be faster than this worker's Assign: it is kept for a
// moment before it is refused.
//
// Pure state; core thread only. Bounds: `kMaxHeld` offers, each for `kHoldLimit`.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "common/base/clock.h"
#include "common/base/ids.h"
#include "common/protocol/peer_messages.h"

namespace tandem {

class EarlyOffers {
 public:
  static constexpr size_t kMaxHeld = 64;
  static constexpr Duration kHoldLimit = std::chrono::milliseconds(200);

  struct Held {
    Incarnation peer;
    Offer offer;
    Instant until;
  };

  // A repeated offer changes nothing. Returns the oldest one when there is no room for both: its
  // time is over.
  std::optional<Held> Hold(Incarnation peer, const Offer& offer, Instant now) {
    const bool known = std::any_of(held_.begin(), held_.end(), [&](const Held& h) {
      return h.peer == peer && h.offer.nonce == offer.nonce;
    });
    if (known) return std::nullopt;
    held_.push_back({peer, offer, now + kHoldLimit});
    if (held_.size() <= kMaxHeld) return std::nullopt;
    return TakeOldest();
  }

  // The nonce is known now: the offers under it (one, unless another worker guesses nonces).
  std::vector<Held> Take(const Nonce& nonce) {
    return TakeIf([&](const Held& h) { return h.offer.nonce == nonce; });
  }
  // The peer takes its offer back, or is gone.
  void Forget(Incarnation peer, const Nonce& nonce) {
    TakeIf([&](const Held& h) { return h.peer == peer && h.offer.nonce == nonce; });
  }
  void Forget(Incarnation peer) {
    TakeIf([&](const Held& h) { return h.peer == peer; });
  }
  // Those whose time is over.
  std::vector<Held> TakeExpired(Instant now) {
    return TakeIf([&](const Held& h) { return now >= h.until; });
  }
  // When to call TakeExpired.
  Instant deadline() const { return held_.empty() ? kNever : held_.front().until; }

 private:
  Held TakeOldest() {
    const Held oldest = held_.front();
    held_.pop_front();
    return oldest;
  }

  template <class Predicate>
  std::vector<Held> TakeIf(const Predicate& matches) {
    const auto first_taken = std::stable_partition(held_.begin(), held_.end(),
                                                   [&](const Held& h) { return !matches(h); });
    std::vector<Held> taken(std::make_move_iterator(first_taken),
                            std::make_move_iterator(held_.end()));
    held_.erase(first_taken, held_.end());
    return taken;
  }

  std::deque<Held> held_;  // oldest first
};

}  // namespace tandem
