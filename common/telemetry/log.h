// The log: one line per event on stderr, for people and machines alike.
//
//   2026-11-23T14:35:37.123456Z I decode "grant sent" request=cmpl-7f3a blocks=12
//
// Time (UTC), level (E W I D), role, event, then key=value pairs. An event or value that holds
// anything but plain printable characters is quoted; inside quotes control characters, quotes,
// backslashes, invalid UTF-8 and characters that could reorder or break a line are written as
// \n, \r, \t, \", \\ or \xNN, so text from a client can neither forge nor split a line.
//
// Use the key "request" for the client-visible request id. State and rates are metrics, not logs.
// Thread-safe: each line leaves in one write() of at most kMaxLogLineBytes (longer ones are cut, at
// the end or inside a value, and end in "..."), so lines of several processes on one pipe do not
// mix. It does not wait: a line for which a pipe has no room is lost.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace tandem {

enum class Level : uint8_t {
  kError = 0,  // cannot go on
  kWarn = 1,   // odd, but going on
  kInfo = 2,   // an event of a request or a peer
  kDebug = 3,  // per object
};

// "error", "warn", "info", "debug"; anything else is no level.
std::optional<Level> LevelFromName(absl::string_view name);

// What a field can hold; a view, valid during the call of Log only.
class LogValue {
 public:
  LogValue(bool v) : kind_(Kind::kText), text_(v ? "true" : "false") {}
  template <std::signed_integral T>
  LogValue(T v) : kind_(Kind::kSigned), signed_(v) {}
  template <std::unsigned_integral T>
  LogValue(T v) : kind_(Kind::kUnsigned), unsigned_(v) {}
  template <std::floating_point T>
  LogValue(T v) : kind_(Kind::kDouble), double_(v) {}
  LogValue(const char* v) : kind_(Kind::kText), text_(v) {}
  LogValue(std::string_view v) : kind_(Kind::kText), text_(v) {}
  LogValue(const std::string& v) : kind_(Kind::kText), text_(v) {}

  void AppendTo(std::string* line) const;

 private:
  enum class Kind : uint8_t { kSigned, kUnsigned, kDouble, kText };
  Kind kind_;
  union {
    int64_t signed_;
    uint64_t unsigned_;
    double double_;
    std::string_view text_;
  };
};

struct LogField {
  std::string_view key;  // a literal: letters, digits, '_'
  LogValue value;
};

// Sets level and role ("router", "prefill", "decode") for the rest of the process, and ignores
// SIGPIPE. Called once by main before threads start; without it the level is info and the role "-".
void StartLog(Level level, std::string_view role);

// For fields that are dear to compute; Log itself returns at once when the level is off.
bool LogEnabled(Level level);

void Log(Level level, std::string_view event, std::initializer_list<LogField> fields = {});
// The same for fields that are put together at run time.
void Log(Level level, std::string_view event, absl::Span<const LogField> fields);

inline constexpr size_t kMaxLogLineBytes =
    4096;  // PIPE_BUF: the kernel writes no more in one piece

// The line that Log would write, newline included, with `time_ns` since the epoch. For tests.
std::string FormatLogLine(int64_t time_ns, Level level, std::string_view role,
                          std::string_view event, absl::Span<const LogField> fields);

}  // namespace tandem
