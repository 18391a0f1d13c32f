// Who is admitted first among those that wait for room: interactive work before bulk work, each by
// arrival. The oldest bulk work, once it is kBulkPatience old, counts as interactive: it stands
// before all that arrived after it, so it is admitted in its turn, and then the next one is the
// oldest. Not all old bulk work at once does: a backlog would stand before everybody.
//
// Pure functions of the time given; core thread only.
#pragma once

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

#include "common/base/clock.h"
#include "common/protocol/lane.h"

namespace tandem {

// A person has given up on an answer by then; a batch has not noticed yet.
inline constexpr Duration kBulkPatience = std::chrono::seconds(5);

// Reorders `waiting`, which is in the order of arrival. `Item` points to what has a `lane`;
// `arrived` says since when it waits.
template <class Item, class Arrived>
void SortForAdmission(std::vector<Item>* waiting, Instant now, Arrived arrived) {
  bool is_oldest = true;  // of the bulk work
  std::stable_partition(waiting->begin(), waiting->end(), [&](const Item& item) {
    if (item->lane == Lane::kInteractive) return true;
    return std::exchange(is_oldest, false) && now - arrived(*item) >= kBulkPatience;
  });
}

}  // namespace tandem
