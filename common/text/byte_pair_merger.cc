#include "common/text/byte_pair_merger.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <queue>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/text/byte_alphabet.h"

namespace tandem {
namespace {

constexpr TokenId kNoSymbol = -1;
constexpr uint32_t kNoRank = std::numeric_limits<uint32_t>::max();
// Up to this length a scan over all pairs is faster than a heap.
constexpr size_t kShortWord = 32;
// Up to this length one heap is faster than a queue per rank.
constexpr size_t kLongWord = 8192;

uint64_t PairKey(TokenId left, TokenId right) {
  return (uint64_t{static_cast<uint32_t>(left)} << 32) | static_cast<uint32_t>(right);
}

struct Place {
  uint32_t rank, position;
};

// Places of mergeable pairs, taken by rank and then from left to right. Best for words of up to a
// few thousand bytes: one heap.
class HeapQueue {
 public:
  bool empty() const { return heap_.empty(); }
  void Add(Place place) { heap_.push((uint64_t{place.rank} << 32) | place.position); }
  Place Take() {
    const uint64_t first = heap_.top();
    heap_.pop();
    return {static_cast<uint32_t>(first >> 32), static_cast<uint32_t>(first)};
  }

 private:
  std::priority_queue<uint64_t, std::vector<uint64_t>, std::greater<>> heap_;
};

// The positions of one rank. Nearly all are found from left to right: those cost a push to a
// vector, only the others a heap.
class Positions {
 public:
  bool empty() const { return taken_ == in_order_.size() && late_.empty(); }

  void Add(uint32_t position) {
    if (taken_ == in_order_.size()) {
      in_order_.clear();
      taken_ = 0;
    }
    if (in_order_.empty() || position >= in_order_.back()) {
      in_order_.push_back(position);
    } else {
      late_.push(position);
    }
  }

  uint32_t Take() {
    const bool late =
        !late_.empty() && (taken_ == in_order_.size() || late_.top() < in_order_[taken_]);
    if (!late) return in_order_[taken_++];
    const uint32_t position = late_.top();
    late_.pop();
    return position;
  }

 private:
  std::vector<uint32_t> in_order_;  // rising
  size_t taken_ = 0;                // of in_order_
  std::priority_queue<uint32_t, std::vector<uint32_t>, std::greater<>> late_;
};

// The same for words of megabytes, where one heap would miss the processor's caches at every step.
class RankedQueue {
 public:
  bool empty() {
    while (!ranks_.empty() && positions_[ranks_.top()].empty()) ranks_.pop();
    return ranks_.empty();
  }
  void Add(Place place) {
    Positions& positions = positions_[place.rank];
    if (positions.empty()) ranks_.push(place.rank);
    positions.Add(place.position);
  }
  Place Take() { return {ranks_.top(), positions_[ranks_.top()].Take()}; }

 private:
  absl::flat_hash_map<uint32_t, Positions> positions_;  // by rank
  // Those with positions; sometimes one without, or one twice.
  std::priority_queue<uint32_t, std::vector<uint32_t>, std::greater<>> ranks_;
};

}  // namespace

absl::StatusOr<BytePairMerger> BytePairMerger::Create(absl::Span<const std::string> tokens,
                                                      absl::Span<const std::string> merges) {
  absl::flat_hash_map<absl::string_view, TokenId> ids;
  ids.reserve(tokens.size());
  for (size_t i = 0; i < tokens.size(); ++i) ids[tokens[i]] = static_cast<TokenId>(i);

  BytePairMerger merger;
  for (int byte = 0; byte < 256; ++byte) {
    const auto found = ids.find(SpellByte(static_cast<uint8_t>(byte)));
    merger.byte_symbols_[byte] = found == ids.end() ? kNoSymbol : found->second;
  }
  merger.merges_.reserve(merges.size());
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const absl::string_view merge = merges[rank];
    const size_t space = merge.find(' ');
    const bool is_pair =
        space != absl::string_view::npos && merge.find(' ', space + 1) == absl::string_view::npos;
    if (!is_pair) {
      return absl::InvalidArgumentError(
          absl::StrCat("tokenizer: merge ", rank, " is not two tokens: \"", merge, "\""));
    }
    const absl::string_view left = merge.substr(0, space);
    const absl::string_view right = merge.substr(space + 1);
    const auto left_id = ids.find(left);
    const auto right_id = ids.find(right);
    const auto result = ids.find(absl::StrCat(left, right));
    if (left_id == ids.end() || right_id == ids.end() || result == ids.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("tokenizer: merge ", rank, " (\"", merge,
                       "\") names a token that is not in the vocabulary"));
    }
    merger.merges_[PairKey(left_id->second, right_id->second)] =
        Merge{static_cast<uint32_t>(rank), result->second};
  }
  return merger;
}

const BytePairMerger::Merge* BytePairMerger::Find(TokenId left, TokenId right) const {
  const auto found = merges_.find(PairKey(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

void BytePairMerger::Split(absl::string_view word, std::vector<TokenId>& out) const {
  const size_t start = out.size();
  for (const char c : word) {
    const TokenId symbol = byte_symbols_[static_cast<uint8_t>(c)];
    if (symbol != kNoSymbol) out.push_back(symbol);
  }
  if (out.size() - start < 2) return;
  std::vector<TokenId> symbols(out.begin() + static_cast<ptrdiff_t>(start), out.end());
  if (symbols.size() <= kShortWord) {
    SplitShort(symbols);
  } else if (symbols.size() <= kLongWord) {
    SplitLong<HeapQueue>(symbols);
  } else {
    SplitLong<RankedQueue>(symbols);
  }
  out.resize(start);
  out.insert(out.end(), symbols.begin(), symbols.end());
}

void BytePairMerger::SplitShort(std::vector<TokenId>& symbols) const {
  std::array<Merge, kShortWord> pairs;  // pairs[i]: the merge of symbols i and i + 1
  size_t count = symbols.size();
  const auto look_up = [&](size_t i) {
    const Merge* merge = Find(symbols[i], symbols[i + 1]);
    pairs[i] = merge ? *merge : Merge{kNoRank, kNoSymbol};
  };
  for (size_t i = 0; i + 1 < count; ++i) look_up(i);
  while (count > 1) {
    const auto best =
        std::min_element(pairs.begin(), pairs.begin() + (count - 1),
                         [](const Merge& a, const Merge& b) { return a.rank < b.rank; });
    if (best->rank == kNoRank) break;
    const size_t i = static_cast<size_t>(best - pairs.begin());
    symbols[i] = best->result;
    std::copy(symbols.begin() + i + 2, symbols.begin() + count, symbols.begin() + i + 1);
    std::copy(pairs.begin() + i + 1, pairs.begin() + (count - 1), pairs.begin() + i);
    --count;
    if (i > 0) look_up(i - 1);
    if (i + 1 < count) look_up(i);
  }
  symbols.resize(count);
}

template <class Queue>
void BytePairMerger::SplitLong(std::vector<TokenId>& symbols) const {
  // A symbol is named by the position of its first byte; merged-away positions hold kNoSymbol.
  const uint32_t count = static_cast<uint32_t>(symbols.size());
  std::vector<uint32_t> previous(count), next(count);
  for (uint32_t i = 0; i < count; ++i) {
    previous[i] = i - 1;  // of position 0: never read
    next[i] = i + 1;      // count: the end
  }
  Queue queue;
  const auto offer = [&](uint32_t i) {
    if (const Merge* merge = Find(symbols[i], symbols[next[i]])) queue.Add({merge->rank, i});
  };
  for (uint32_t i = 0; i + 1 < count; ++i) offer(i);
  while (!queue.empty()) {
    const auto [rank, i] = queue.Take();
    if (symbols[i] == kNoSymbol || next[i] == count) continue;
    const Merge* merge = Find(symbols[i], symbols[next[i]]);
    if (merge == nullptr || merge->rank != rank) continue;  // the pair has changed since
    const uint32_t gone = next[i];
    symbols[i] = merge->result;
    symbols[gone] = kNoSymbol;
    next[i] = next[gone];
    if (next[i] < count) {
      previous[next[i]] = i;
      offer(i);
    }
    if (i > 0) offer(previous[i]);
  }
  symbols.erase(std::remove(symbols.begin(), symbols.end(), kNoSymbol), symbols.end());
}

}  // namespace tandem
