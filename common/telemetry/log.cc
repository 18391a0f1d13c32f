#include "common/telemetry/log.h"

#include <poll.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/mutex.h"

namespace tandem {
namespace {

constexpr size_t kMaxRoleBytes = 31;
constexpr size_t kMaxValueBytes = 2048;  // of the source text, so that later fields still fit
constexpr char kLevelLetters[] = "EWID";

std::atomic<Level> g_level{Level::kInfo};
char g_role[kMaxRoleBytes + 1] = "-";
Mutex g_write_mutex;

// The length of the valid UTF-8 character at the start of `text`, or 0.
size_t Utf8CharacterLength(std::string_view text, uint32_t* code_point) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) {
    *code_point = lead;
    return 1;
  }
  const size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() < length) return 0;
  uint32_t value = lead & (0x7f >> length);
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
    value = (value << 6) | (byte(i) & 0x3f);
  }
  constexpr uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  if (value < kSmallest[length] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) {
    return 0;
  }
  *code_point = value;
  return length;
}

// Characters that a terminal or a viewer acts on instead of showing them: C0, C1, line and
// paragraph separators, direction marks and overrides, the byte order mark.
bool IsUnsafe(uint32_t c) {
  return c < 0x20 || (c >= 0x7f && c <= 0x9f) || c == 0x061c || (c >= 0x200e && c <= 0x200f) ||
         (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0xfeff;
}

bool NeedsQuotes(std::string_view text) {
  if (text.empty()) return true;
  for (const char c : text) {
    if (c <= ' ' || c > '~' || c == '"' || c == '\\' || c == '=') return true;
  }
  return false;
}

void AppendEscaped(std::string_view text, std::string* line) {
  while (!text.empty()) {
    uint32_t c = 0;
    const size_t length = Utf8CharacterLength(text, &c);
    if (length == 0 || IsUnsafe(c)) {
      const std::string_view bytes = text.substr(0, length == 0 ? 1 : length);
      for (const char byte : bytes) {
        switch (byte) {
          case '\n':
            absl::StrAppend(line, "\\n");
            break;
          case '\r':
            absl::StrAppend(line, "\\r");
            break;
          case '\t':
            absl::StrAppend(line, "\\t");
            break;
          default:
            absl::StrAppendFormat(line, "\\x%02x", static_cast<uint8_t>(byte));
        }
      }
    } else {
      if (c == '"' || c == '\\') line->push_back('\\');
      line->append(text.substr(0, length));
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
}

// A cut inside an escape or a character is possible and harmless: the dots show it.
void AppendText(std::string_view text, std::string* line) {
  const bool cut = text.size() > kMaxValueBytes;
  if (cut) text = text.substr(0, kMaxValueBytes);
  if (!cut && !NeedsQuotes(text)) {
    line->append(text);
    return;
  }
  line->push_back('"');
  AppendEscaped(text, line);
  absl::StrAppend(line, cut ? "...\"" : "\"");
}

void AppendTime(int64_t time_ns, std::string* line) {
  const time_t seconds = static_cast<time_t>(time_ns / 1'000'000'000);
  tm utc{};
  gmtime_r(&seconds, &utc);
  absl::StrAppendFormat(line, "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", utc.tm_year + 1900,
                        utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
                        static_cast<int>(time_ns % 1'000'000'000 / 1000));
}

}  // namespace

std::optional<Level> LevelFromName(absl::string_view name) {
  if (name == "error") return Level::kError;
  if (name == "warn") return Level::kWarn;
  if (name == "info") return Level::kInfo;
  if (name == "debug") return Level::kDebug;
  return std::nullopt;
}

void LogValue::AppendTo(std::string* line) const {
  switch (kind_) {
    case Kind::kSigned:
      absl::StrAppend(line, signed_);
      break;
    case Kind::kUnsigned:
      absl::StrAppend(line, unsigned_);
      break;
    case Kind::kDouble:
      absl::StrAppend(line, double_);
      break;
    case Kind::kText:
      AppendText(text_, line);
      break;
  }
}

void StartLog(Level level, std::string_view role) {
  const size_t size = std::min(role.size(), kMaxRoleBytes);
  std::memcpy(g_role, role.data(), size);
  g_role[size] = '\0';
  g_level.store(level, std::memory_order_release);
  signal(SIGPIPE, SIG_IGN);  // the reader of the log may leave
}

bool LogEnabled(Level level) { return level <= g_level.load(std::memory_order_acquire); }

std::string FormatLogLine(int64_t time_ns, Level level, std::string_view role,
                          std::string_view event, absl::Span<const LogField> fields) {
  std::string line;
  line.reserve(256);
  AppendTime(time_ns, &line);
  line.push_back(' ');
  line.push_back(kLevelLetters[static_cast<size_t>(level)]);
  line.push_back(' ');
  line.append(role);
  line.push_back(' ');
  AppendText(event, &line);
  for (const LogField& field : fields) {
    line.push_back(' ');
    line.append(field.key);
    line.push_back('=');
    field.value.AppendTo(&line);
  }
  if (line.size() >= kMaxLogLineBytes) {
    line.resize(kMaxLogLineBytes - 4);
    line.append("...");
  }
  line.push_back('\n');
  return line;
}

void Log(Level level, std::string_view event, std::initializer_list<LogField> fields) {
  Log(level, event, absl::MakeConstSpan(fields.begin(), fields.size()));
}

void Log(Level level, std::string_view event, absl::Span<const LogField> fields) {
  if (!LogEnabled(level)) return;
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  const std::string line = FormatLogLine(int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec, level,
                                         g_role, event, fields);
  // A lost line (stderr closed or full) must not hurt the process. A pipe that poll finds writable
  // takes a whole line; the lock keeps another thread from filling it in between.
  const MutexLock lock(&g_write_mutex);
  pollfd out{STDERR_FILENO, POLLOUT, 0};
  if (poll(&out, 1, 0) != 1 || (out.revents & POLLOUT) == 0) return;
  ssize_t written;
  do {
    written = write(STDERR_FILENO, line.data(), line.size());
  } while (written < 0 && errno == EINTR);
}

}  // namespace tandem
