#include "common/config/option_values.h"

#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/status_macros.h"

namespace tandem {
namespace {

constexpr std::pair<absl::string_view, uint64_t> kByteUnits[] = {
    {"GiB", 1ull << 30}, {"MiB", 1ull << 20}, {"KiB", 1ull << 10}, {"", 1}};
// "ms" before "s": the longer ending is tried first.
constexpr std::pair<absl::string_view, double> kTimeUnits[] = {
    {"ms", 1e-3}, {"us", 1e-6}, {"m", 60}, {"h", 3600}, {"s", 1}, {"", 1}};

absl::Status Expected(absl::string_view what) { return absl::InvalidArgumentError(what); }

// Digits only: no sign, no space, which SimpleAtoi would take.
bool ReadNumber(absl::string_view text, uint64_t* value) {
  return !text.empty() && absl::ascii_isdigit(text[0]) && absl::SimpleAtoi(text, value) &&
         absl::ascii_isdigit(text.back());
}

bool ReadDecimal(absl::string_view text, double* value) {
  for (const char c : text) {
    if (!absl::ascii_isdigit(c) && c != '.') return false;
  }
  return !text.empty() && absl::SimpleAtod(text, value) && std::isfinite(*value);
}

absl::StatusOr<HostPort> ReadAddress(absl::string_view text) {
  const absl::Status expected =
      Expected("host:port, with brackets around an IPv6 address and a port from 1 to 65535");
  const size_t colon = text.rfind(':');
  if (colon == absl::string_view::npos) return expected;
  absl::string_view host = text.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (absl::StrContains(host, ':') || absl::StrContains(host, '[')) {
    return expected;
  }
  uint64_t port = 0;
  if (host.empty() || absl::StrContains(host, ' ') || !ReadNumber(text.substr(colon + 1), &port) ||
      port == 0 || port > 65535) {
    return expected;
  }
  return HostPort{std::string(host), static_cast<uint16_t>(port)};
}

}  // namespace

std::string HostPort::ToString() const {
  return absl::StrContains(host, ':') ? absl::StrCat("[", host, "]:", port)
                                      : absl::StrCat(host, ":", port);
}

ReadValue IntoText(std::string* out) {
  return [=](absl::string_view text) {
    *out = std::string(text);
    return absl::OkStatus();
  };
}

ReadValue IntoPort(uint16_t* out) {
  return [=](absl::string_view text) {
    uint64_t port = 0;
    if (!ReadNumber(text, &port) || port > 65535) return Expected("a port from 0 to 65535");
    *out = static_cast<uint16_t>(port);
    return absl::OkStatus();
  };
}

ReadValue IntoCount(uint32_t* out, uint32_t low, uint32_t high) {
  return [=](absl::string_view text) {
    uint64_t count = 0;
    if (!ReadNumber(text, &count) || count < low || count > high) {
      return Expected(absl::StrCat("a number from ", low, " to ", high));
    }
    *out = static_cast<uint32_t>(count);
    return absl::OkStatus();
  };
}

ReadValue IntoBytes(uint64_t* out, uint64_t low, uint64_t high) {
  return [=](absl::string_view text) {
    for (const auto& [unit, factor] : kByteUnits) {
      uint64_t number = 0;
      if (!absl::EndsWith(text, unit) ||
          !ReadNumber(text.substr(0, text.size() - unit.size()), &number)) {
        continue;
      }
      if (number > high / factor || number * factor < low) break;
      *out = number * factor;
      return absl::OkStatus();
    }
    return Expected(absl::StrCat("a size from ", BytesText(low), " to ", BytesText(high),
                                 " in bytes, KiB, MiB or GiB"));
  };
}

ReadValue IntoDuration(Duration* out, Duration low, Duration high) {
  return [=](absl::string_view text) {
    for (const auto& [unit, factor] : kTimeUnits) {
      double number = 0;
      if (!absl::EndsWith(text, unit) ||
          !ReadDecimal(text.substr(0, text.size() - unit.size()), &number)) {
        continue;
      }
      const double seconds = number * factor;
      if (seconds > ToSeconds(high) || seconds < ToSeconds(low)) break;
      *out = Duration(std::llround(seconds * 1e9));
      return absl::OkStatus();
    }
    return Expected(absl::StrCat("a time from ", DurationText(low), " to ", DurationText(high),
                                 ", such as 30s, 500ms or 2m"));
  };
}

ReadValue IntoAddresses(std::vector<HostPort>* out) {
  return [=](absl::string_view text) -> absl::Status {
    std::vector<HostPort> addresses;
    for (const absl::string_view item : absl::StrSplit(text, ',', absl::SkipWhitespace())) {
      ASSIGN_OR_RETURN(HostPort address, ReadAddress(absl::StripAsciiWhitespace(item)));
      for (const HostPort& earlier : addresses) {
        if (earlier == address) {
          return Expected(
              absl::StrCat("a list of different addresses: ", address.ToString(), " occurs twice"));
        }
      }
      addresses.push_back(std::move(address));
    }
    *out = std::move(addresses);
    return absl::OkStatus();
  };
}

std::string BytesText(uint64_t bytes) {
  for (const auto& [unit, factor] : kByteUnits) {
    if (bytes >= factor && bytes % factor == 0) return absl::StrCat(bytes / factor, unit);
  }
  return absl::StrCat(bytes);
}

std::string DurationText(Duration duration) {
  if (duration % std::chrono::seconds(1) == Duration::zero()) {
    return absl::StrCat(duration / std::chrono::seconds(1), "s");
  }
  return absl::StrCat(ToMilliseconds(duration), "ms");
}

}  // namespace tandem
