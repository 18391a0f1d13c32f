#include "common/engine/cost_model.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace tandem {
namespace {

// Units in which the terms are of one order of magnitude.
constexpr double kRowUnit = 16;
constexpr double kReadUnit = 1024;

// How much of what is known of a kind of step is left when one more is observed.
constexpr double kFade = 1 - 1.0 / 32;

// A step that took more than this many times what was expected counts as this many times.
constexpr double kLargestSurprise = 4;

// How much of a surprise is put down to the machine as a whole.
constexpr double kPaceGain = 1.0 / 16;
// What a step leaves of the pace's distance from 1, as a power.
constexpr double kPaceKept = 1 - 1.0 / 64;
constexpr double kLargestPace = 8;

// Added to the diagonal, in proportion: terms that always came together share what they cost.
constexpr double kRidge = 1e-3;

template <class Vector>
Vector TermsOf(const StepWork& work) {
  return {1, work.rows / kRowUnit, static_cast<double>(work.attended) / (kRowUnit * kReadUnit),
          static_cast<double>(work.read) / kReadUnit};
}

// Solves a x = b for the terms in use by elimination; the others are zero. `a` is symmetric and
// positive definite on them.
template <class Matrix, class Vector, class InUse>
Vector SolveTerms(Matrix a, Vector b, const InUse& in_use) {
  const size_t n = b.size();
  for (size_t i = 0; i < n; ++i) {
    if (!in_use[i]) continue;
    for (size_t row = i + 1; row < n; ++row) {
      if (!in_use[row]) continue;
      const double factor = a[row][i] / a[i][i];
      for (size_t column = i; column < n; ++column) a[row][column] -= factor * a[i][column];
      b[row] -= factor * b[i];
    }
  }
  Vector x{};
  for (size_t i = n; i-- > 0;) {
    if (!in_use[i]) continue;
    double rest = b[i];
    for (size_t column = i + 1; column < n; ++column) rest -= a[i][column] * x[column];
    x[i] = rest / a[i][i];
  }
  return x;
}

}  // namespace

StepWork& StepWork::operator+=(const StepWork& other) {
  rows += other.rows;
  attended += other.attended;
  read += other.read;
  return *this;
}

StepWork WorkOf(uint32_t start, uint32_t count) {
  const uint64_t n = count;
  return {.rows = count, .attended = n * start + n * (n + 1) / 2, .read = start + n};
}

// By the order of magnitude of its rows, and by whether any sequence has more than one of them.
size_t StepCostModel::KindOf(const StepWork& work) {
  return 2 * static_cast<size_t>(std::bit_width(work.rows)) + (work.attended > work.read ? 1 : 0);
}

void StepCostModel::Observe(const StepWork& work, Duration computing) {
  double took = ToMilliseconds(computing);
  if (work.rows == 0 || !(took > 0)) return;
  if (const double expected = ToMilliseconds(Predict(work)); fitted_ && expected > 0) {
    took = std::clamp(took, expected / kLargestSurprise, expected * kLargestSurprise);
    // It leaks towards 1: the pace steers the fit and the fit the pace, and a small lasting error
    // of one would grow in that circle without end.
    pace_ = std::clamp(std::pow(pace_, kPaceKept) * std::pow(took / expected, kPaceGain),
                       1 / kLargestPace, kLargestPace);
  }
  took /= pace_;
  // Relative errors are made small: a long chunk and a decode step count alike, and a step that was
  // held up weighs less than one that was not.
  Vector terms = TermsOf<Vector>(work);
  for (double& term : terms) term /= took;
  Sums& sums = sums_[KindOf(work)];
  for (size_t i = 0; i < kTerms; ++i) {
    for (size_t j = 0; j < kTerms; ++j) {
      sums.products[i][j] = kFade * sums.products[i][j] + terms[i] * terms[j];
    }
    sums.values[i] = kFade * sums.values[i] + terms[i];
  }
  Solve();
}

void StepCostModel::Solve() {
  Matrix products{};
  Vector values{};
  for (const Sums& sums : sums_) {
    for (size_t i = 0; i < kTerms; ++i) {
      for (size_t j = 0; j < kTerms; ++j) products[i][j] += sums.products[i][j];
      values[i] += sums.values[i];
    }
  }
  for (size_t i = 0; i < kTerms; ++i) products[i][i] *= 1 + kRidge;
  // The most negative term leaves until none is negative.
  std::array<bool, kTerms> in_use;
  in_use.fill(true);
  while (true) {
    cost_ = SolveTerms(products, values, in_use);
    const auto least = std::min_element(cost_.begin(), cost_.end());
    if (*least >= 0) break;
    in_use[static_cast<size_t>(least - cost_.begin())] = false;
  }
  fitted_ = true;
}

Duration StepCostModel::Predict(const StepWork& work) const {
  const Vector terms = TermsOf<Vector>(work);
  double milliseconds = 0;
  for (size_t i = 0; i < kTerms; ++i) milliseconds += cost_[i] * terms[i];
  return std::chrono::duration_cast<Duration>(
      std::chrono::duration<double, std::milli>(pace_ * milliseconds));
}

}  // namespace tandem
