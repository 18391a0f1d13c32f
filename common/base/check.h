// CHECK: for our own bugs only. What peers, users or hardware can cause is an absl::Status.
#pragma once

#include "absl/strings/string_view.h"

namespace tandem {

// Prints "file:line: CHECK failed: condition message" to stderr and aborts.
[[noreturn]] void CheckFailed(const char* file, int line, const char* condition,
                              absl::string_view message);

}  // namespace tandem

#define TANDEM_CHECK(condition)                                  \
  do {                                                           \
    if (!(condition)) [[unlikely]]                               \
      ::tandem::CheckFailed(__FILE__, __LINE__, #condition, ""); \
  } while (false)

#define TANDEM_CHECK_MSG(condition, message)                            \
  do {                                                                  \
    if (!(condition)) [[unlikely]]                                      \
      ::tandem::CheckFailed(__FILE__, __LINE__, #condition, (message)); \
  } while (false)
