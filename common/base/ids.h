// Strong integer types for identifiers, so that a BlockId cannot be passed where a WorkerId is
// wanted.
#pragma once

#include <compare>
#include <cstdint>
#include <ostream>
#include <utility>

namespace tandem {

template <class Tag, class Rep>
class StrongId {
 public:
  using rep = Rep;
  constexpr StrongId() = default;
  constexpr explicit StrongId(Rep value) : value_(value) {}
  constexpr Rep value() const { return value_; }
  friend constexpr auto operator<=>(StrongId, StrongId) = default;
  template <class H>
  friend H AbslHashValue(H h, StrongId id) {
    return H::combine(std::move(h), id.value_);
  }
  friend std::ostream& operator<<(std::ostream& os, StrongId id) { return os << +id.value_; }

 private:
  Rep value_ = 0;
};

using TokenId =
    int32_t;  // an index into the vocabulary; arithmetic type on purpose, it fills arrays

// One physical KV block of a worker's arena, in [0, num_blocks).
using BlockId = StrongId<struct BlockIdTag, uint32_t>;
// One request at one router; drawn at random by the router, never reused by it.
using RequestId = StrongId<struct RequestIdTag, uint64_t>;
// One life of a worker process; drawn at random at start, so a restarted worker is a different one.
using Incarnation = StrongId<struct IncarnationTag, uint64_t>;
// One permission to write landing blocks; drawn by the receiver, never reused within an
// incarnation.
using GrantId = StrongId<struct GrantIdTag, uint64_t>;
// One router session of a worker, local to the worker.
using SessionId = StrongId<struct SessionIdTag, uint64_t>;
// One submitted engine step of a worker, counting up from 1.
using StepId = StrongId<struct StepIdTag, uint64_t>;

}  // namespace tandem
