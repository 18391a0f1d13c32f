// FillLease: the one party that may fill a sequence's missing range, on the decode worker, for one
// epoch of a request. Pure state; the owner passes the time and acts on what it is told. Core
// thread only.
//
//            assign remote          assign self   lost                     expired   filled
//   NONE     REMOTE                 SELF          (stale)                  SELF      SELF
//   REMOTE   REMOTE, revokes older  SELF, revokes NONE, or SELF when no    SELF,     SELF
//                                                 remote attempt is left   revokes
//   SELF     superseded             superseded    (stale)                  -         -
//
// SELF is final. An assignment whose attempt is not newer than the last one is stale. The deadline
// bounds the time without progress; it runs on in NONE, and stands still while an Offer waits for
// room.
#pragma once

#include <cstdint>
#include <optional>

#include "common/base/clock.h"
#include "common/base/ids.h"
#include "common/protocol/nonce.h"
#include "common/protocol/router_messages.h"

namespace tandem {

// Remote attempts in one epoch; after the last one decode fills.
inline constexpr uint32_t kMaxRemoteAttempts = 2;

enum class FillState : uint8_t { kNone, kRemote, kSelf };

// The blocks that a filler may write, by their place in the sequence.
struct FillRange {
  uint32_t first_block = 0;
  uint32_t num_blocks = 0;

  friend bool operator==(const FillRange&, const FillRange&) = default;
};

class FillLease {
 public:
  enum class Verdict : uint8_t {
    kAccepted,    // the assignment holds
    kStale,       // overtaken by what is known: nothing changed
    kSuperseded,  // this worker fills: nothing changed, or no remote attempt was left and it took
                  // over just now
  };
  struct Change {
    Verdict verdict = Verdict::kAccepted;
    std::optional<Nonce> revoked;  // the filler that lost its right to write
  };

  FillState state() const { return state_; }
  // REQUIRES of the next four: state() == kRemote.
  uint32_t attempt() const;
  const Nonce& nonce() const;
  Incarnation prefill() const;
  const FillRange& range() const;
  // True when `nonce` is the present right to write.
  bool Admits(const Nonce& nonce) const;

  // REQUIRES: assignment.attempt >= 1.
  Change AssignRemote(const FillAssignment& assignment, FillRange range, Instant now);
  Change AssignSelf();
  // The remote filler `attempt` ended without filling. kAccepted: look at state() for who fills
  // now; kStale: it was not the present one.
  Change Lost(uint32_t attempt, Instant now);
  // Everything that was asked of the remote filler landed, or nothing has to be filled remotely.
  void Filled();
  // Takes over when the deadline has passed; true when it did just now. `*revoked` is set then.
  bool Expire(Instant now, std::optional<Nonce>* revoked);

  // Something was committed: the time without progress starts again.
  void Progress(Instant now);
  // An Offer waits for room (or no more): the deadline stands still meanwhile. Repeats are
  // harmless.
  void Hold(Instant now);
  void Resume(Instant now);
  bool held() const { return held_; }
  // When to call Expire; kNever while held or filling by itself, or before the first assignment.
  Instant deadline() const;

 private:
  void StartDeadline(Duration left, Instant now);
  Change TakeOver(Verdict verdict);
  std::optional<Nonce> RevokeRemote();

  FillState state_ = FillState::kNone;
  uint32_t last_attempt_ = 0;     // highest attempt number seen
  uint32_t remote_attempts_ = 0;  // remote fillers accepted
  Nonce nonce_;
  Incarnation prefill_;
  FillRange range_;
  Duration limit_{};           // without progress
  Instant deadline_ = kNever;  // while not held
  Duration left_{};            // while held
  bool held_ = false;
};

}  // namespace tandem
