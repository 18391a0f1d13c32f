// BodyBudget bounds the request bodies that a server holds at one time, over all connections and
// whatever queue they wait in: each limit of one connection times thousands of connections would be
// more memory than there is.
// Thread-safe. Outlives the rooms it gave out.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

namespace tandem {

class BodyBudget;

// The right to hold a body; gives its bytes back when it is destroyed.
class BodyRoom {
 public:
  BodyRoom(BodyBudget* budget, uint64_t bytes) : budget_(budget), bytes_(bytes) {}
  ~BodyRoom() { ShrinkTo(0); }
  BodyRoom(const BodyRoom&) = delete;
  BodyRoom& operator=(const BodyRoom&) = delete;

  // REQUIRES: no more than before.
  void ShrinkTo(uint64_t bytes);

 private:
  BodyBudget* const budget_;
  uint64_t bytes_;
};

class BodyBudget {
 public:
  explicit BodyBudget(uint64_t bytes) : left_(bytes) {}

  // Null: too much is held already.
  std::shared_ptr<BodyRoom> Reserve(uint64_t bytes) {
    uint64_t left = left_.load();
    do {
      if (bytes > left) return nullptr;
    } while (!left_.compare_exchange_weak(left, left - bytes));
    return std::make_shared<BodyRoom>(this, bytes);
  }

 private:
  friend class BodyRoom;
  std::atomic<uint64_t> left_;
};

inline void BodyRoom::ShrinkTo(uint64_t bytes) {
  budget_->left_ += bytes_ - bytes;
  bytes_ = bytes;
}

}  // namespace tandem
