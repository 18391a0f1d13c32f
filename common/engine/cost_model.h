// StepCostModel learns how long a step takes from what it computes, on this machine and model, one
// finished step after the other. The planner asks it how much fits into a time.
//
// time = pace x (a + b x rows + c x attended + d x read), with no negative term: reading the
// weights, a row's share of the matrix products, attention's arithmetic and reading keys and
// values. The pace follows a machine that becomes slower or faster as a whole within some dozens of
// steps.
//
// Deterministic: a function of the steps observed, in their order. Thread-compatible: owned by a
// worker's core. Not for: anything whose result depends on more than time.
#pragma once

#include <array>
#include <cstdint>

#include "common/base/clock.h"

namespace tandem {

// What a step's time depends on. Adds up over the step's parts.
struct StepWork {
  uint32_t rows = 0;      // tokens computed
  uint64_t attended = 0;  // positions that each row attends to, of all rows
  uint64_t read = 0;      // positions whose keys and values are read, once for each sequence

  StepWork& operator+=(const StepWork& other);
  friend StepWork operator+(StepWork a, const StepWork& b) { return a += b; }
  friend bool operator==(const StepWork&, const StepWork&) = default;
};

// Of `count` tokens of one sequence from position `start` on.
StepWork WorkOf(uint32_t start, uint32_t count);

class StepCostModel {
 public:
  // A step of this work took `computing`. Of a step that took several times what was expected
  // (the machine did something else) only a part counts.
  void Observe(const StepWork& work, Duration computing);

  // False until something was observed; Predict knows nothing then.
  bool fitted() const { return fitted_; }
  // Rises with the work. Zero when not fitted. After few observations the fit leans to the dear
  // side for kinds of work that were not seen yet.
  Duration Predict(const StepWork& work) const;

 private:
  static constexpr size_t kTerms = 4;
  static constexpr size_t kKinds = 2 * 33;
  using Vector = std::array<double, kTerms>;
  using Matrix = std::array<Vector, kTerms>;
  // Weighted sums of the normal equations, of steps of one kind. Older steps fade as newer ones of
  // the same kind come, so a thousand decode steps do not wash out what a long chunk cost.
  struct Sums {
    Matrix products{};
    Vector values{};
  };

  static size_t KindOf(const StepWork& work);
  void Solve();

  std::array<Sums, kKinds> sums_{};
  Vector cost_{};  // milliseconds for each unit of a term, at pace 1
  double pace_ = 1;
  bool fitted_ = false;
};

}  // namespace tandem
