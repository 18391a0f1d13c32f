// CancelClock measures how long the blocks of cancelled sequences stay taken: from the moment that
// the core handles the cancel until the last part that holds blocks of the sequence (a step, sends,
// a landing in quarantine) has let go.
//
// Thread-compatible: owned by a worker's core. Sequences that are not cancelled are never known
// here, and the end of their own hold is not counted. Bound: `kMaxUntaken` measured spans wait to
// be taken, further ones are dropped.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "common/base/clock.h"
#include "common/base/ids.h"
#include "common/engine/step.h"

namespace tandem {

class CancelClock {
 public:
  // The sequence was cancelled now; it is its own first holder.
  void Cancelled(SequenceKey sequence, Instant now) { running_.try_emplace(sequence, now, 1); }
  // Another part holds blocks of it from now on. False: the sequence is not cancelled, and LetGo of
  // this part must not be told.
  bool Held(SequenceKey sequence) {
    auto it = running_.find(sequence);
    if (it == running_.end()) return false;
    ++it->second.holders;
    return true;
  }
  // One holder has given all its blocks back.
  void LetGo(SequenceKey sequence, Instant now) {
    auto it = running_.find(sequence);
    if (it == running_.end() || --it->second.holders > 0) return;
    if (spans_.size() < kMaxUntaken) spans_.push_back(now - it->second.since);
    running_.erase(it);
  }

  // The spans that ended since the last call.
  std::vector<Duration> TakeSpans() { return std::exchange(spans_, {}); }

 private:
  static constexpr size_t kMaxUntaken = 4096;
  struct Running {
    Running(Instant since, uint32_t holders) : since(since), holders(holders) {}
    Instant since;
    uint32_t holders;
  };

  absl::flat_hash_map<SequenceKey, Running> running_;
  std::vector<Duration> spans_;
};

}  // namespace tandem
