// Who is admitted first among those that wait for room: interactive work before bulk work, each by
// arrival. Bulk work that has waited for kBulkPatience counts as interactive, so it stands before
// all that arrived after it: only what arrived before, or within its patience, can be admitted
// first, and nothing waits for ever.
//
// Pure functions of the time given; core thread only.
#pragma once

#include <algorithm>
#include <chrono>
#include <vector>

#include "common/base/clock.h"
#include "common/protocol/lane.h"

namespace tandem {

// A person has given up on an answer by then; a batch has not noticed yet.
inline constexpr Duration kBulkPatience = std::chrono::seconds(5);

inline Lane AdmissionLane(Lane lane, Instant arrived, Instant now) {
  return now - arrived >= kBulkPatience ? Lane::kInteractive : lane;
}

// Reorders `waiting`, which is in the order of arrival. `Item` points to what has `lane` and
// `arrived`.
template <class Item>
void SortForAdmission(std::vector<Item>* waiting, Instant now) {
  std::stable_partition(waiting->begin(), waiting->end(), [now](const Item& item) {
    return AdmissionLane(item->lane, item->arrived, now) == Lane::kInteractive;
  });
}

}  // namespace tandem
