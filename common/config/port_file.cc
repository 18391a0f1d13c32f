#include "common/config/port_file.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>

#include "absl/strings/str_cat.h"

namespace tandem {

absl::Status WritePortFile(const std::string& path, uint16_t port) {
  if (path.empty()) return absl::OkStatus();
  const std::string unfinished = path + ".new";
  std::ofstream out(unfinished, std::ios::trunc);
  out << port << "\n";
  out.close();
  if (!out || std::rename(unfinished.c_str(), path.c_str()) != 0) {
    const std::string why = std::strerror(errno);
    std::remove(unfinished.c_str());
    return absl::UnavailableError(absl::StrCat(path, ": cannot be written: ", why));
  }
  return absl::OkStatus();
}

}  // namespace tandem
