// Early return on absl::Status errors (this Abseil has no such macros), and context added on the
// way up.
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace tandem {

// Returns `status` with "`context`: " put before its message; OK stays OK.
inline absl::Status WithContext(const absl::Status& status, absl::string_view context) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(context, ": ", status.message()));
}

namespace status_internal {
inline const absl::Status& GetStatus(const absl::Status& status) { return status; }
template <class T>
const absl::Status& GetStatus(const absl::StatusOr<T>& value) {
  return value.status();
}
}  // namespace status_internal
}  // namespace tandem

#define TANDEM_CONCAT_INNER_(a, b) a##b
#define TANDEM_CONCAT_(a, b) TANDEM_CONCAT_INNER_(a, b)

// Evaluates an expression of type Status or StatusOr<T>; returns its status from the caller when it
// is not OK.
#define RETURN_IF_ERROR(expr)                                                                     \
  do {                                                                                            \
    if (auto tandem_status_ = (expr); !::tandem::status_internal::GetStatus(tandem_status_).ok()) \
      return ::tandem::status_internal::GetStatus(tandem_status_);                                \
  } while (false)

// ASSIGN_OR_RETURN(auto x, MakeX()): declares or assigns the value, or returns the error.
#define ASSIGN_OR_RETURN(lhs, expr) \
  ASSIGN_OR_RETURN_IMPL_(TANDEM_CONCAT_(tandem_statusor_, __LINE__), lhs, expr)
#define ASSIGN_OR_RETURN_IMPL_(var, lhs, expr) \
  auto var = (expr);                           \
  if (!var.ok()) return var.status();          \
  lhs = std::move(var).value()
