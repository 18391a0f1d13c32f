#include "common/engine/fill_lease.h"

#include <utility>

#include "common/base/check.h"
#include "common/base/deadline.h"

namespace tandem {

uint32_t FillLease::attempt() const {
  TANDEM_CHECK(state_ == FillState::kRemote);
  return last_attempt_;
}

const Nonce& FillLease::nonce() const {
  TANDEM_CHECK(state_ == FillState::kRemote);
  return nonce_;
}

Incarnation FillLease::prefill() const {
  TANDEM_CHECK(state_ == FillState::kRemote);
  return prefill_;
}

const FillRange& FillLease::range() const {
  TANDEM_CHECK(state_ == FillState::kRemote);
  return range_;
}

bool FillLease::Admits(const Nonce& nonce) const {
  return state_ == FillState::kRemote && nonce_ == nonce;
}

FillLease::Change FillLease::AssignRemote(const FillAssignment& assignment, FillRange range,
                                          Instant now) {
  TANDEM_CHECK(assignment.attempt >= 1);
  if (state_ == FillState::kSelf) return {Verdict::kSuperseded, std::nullopt};
  if (assignment.attempt <= last_attempt_) return {Verdict::kStale, std::nullopt};
  if (remote_attempts_ == kMaxRemoteAttempts) return TakeOver(Verdict::kSuperseded);
  const std::optional<Nonce> revoked = RevokeRemote();
  state_ = FillState::kRemote;
  last_attempt_ = assignment.attempt;
  ++remote_attempts_;
  nonce_ = assignment.nonce;
  prefill_ = assignment.prefill;
  range_ = range;
  limit_ = assignment.fallback_after;
  held_ = false;
  StartDeadline(limit_, now);
  return {Verdict::kAccepted, revoked};
}

FillLease::Change FillLease::AssignSelf() {
  if (state_ == FillState::kSelf) return {Verdict::kSuperseded, std::nullopt};
  return TakeOver(Verdict::kAccepted);
}

FillLease::Change FillLease::Lost(uint32_t attempt, Instant now) {
  if (state_ != FillState::kRemote || attempt != last_attempt_) {
    return {Verdict::kStale, std::nullopt};
  }
  if (remote_attempts_ == kMaxRemoteAttempts) return TakeOver(Verdict::kAccepted);
  Resume(now);
  return {Verdict::kAccepted, RevokeRemote()};
}

void FillLease::Filled() { TakeOver(Verdict::kAccepted); }

bool FillLease::Expire(Instant now, std::optional<Nonce>* revoked) {
  if (deadline() == kNever || now < deadline()) return false;
  *revoked = TakeOver(Verdict::kAccepted).revoked;
  return true;
}

void FillLease::Progress(Instant now) {
  if (state_ != FillState::kRemote) return;
  left_ = limit_;
  StartDeadline(limit_, now);
}

void FillLease::Hold(Instant now) {
  if (state_ != FillState::kRemote || held_) return;
  held_ = true;
  left_ = deadline_ - now;
}

void FillLease::Resume(Instant now) {
  if (!held_) return;
  held_ = false;
  StartDeadline(left_, now);
}

Instant FillLease::deadline() const { return held_ ? kNever : deadline_; }

void FillLease::StartDeadline(Duration left, Instant now) { deadline_ = DeadlineAfter(now, left); }

FillLease::Change FillLease::TakeOver(Verdict verdict) {
  const std::optional<Nonce> revoked = RevokeRemote();
  state_ = FillState::kSelf;
  held_ = false;
  deadline_ = kNever;
  return {verdict, revoked};
}

std::optional<Nonce> FillLease::RevokeRemote() {
  if (state_ != FillState::kRemote) return std::nullopt;
  state_ = FillState::kNone;
  if (!Enabled(Protection::kAttemptRevocation)) return std::nullopt;
  return nonce_;
}

}  // namespace tandem
