#include "common/transfer/ucx/shm_folder.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;

constexpr char kRoot[] = "/dev/shm";
constexpr char kPrefix[] = "tandem-ucx-";
constexpr char kOwner[] = "owner";
constexpr char kDeadMarker[] = "owner-is-dead";
constexpr char kKeptSuffix[] = ".kept";
// Longer than a stopped process may sleep and still find the first bytes of a peer.
constexpr std::chrono::seconds kLinger(60);

// Empty where there is nothing to read. Not through istreambuf_iterator, which throws when reading
// fails, as it does in /proc when the process ends meanwhile.
std::string ReadText(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

std::string PidNamespace() {
  struct stat info {};
  return stat("/proc/self/ns/pid", &info) == 0 ? absl::StrCat(info.st_ino) : "0";
}

// When the process started, in the kernel's ticks: tells it from a later one with the same id.
// Empty: no such process.
std::string StartTime(const std::string& pid) {
  const std::string stat = ReadText(absl::StrCat("/proc/", pid, "/stat"));
  const size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos) return "";
  const std::vector<std::string> fields =
      absl::StrSplit(stat.substr(name_end + 1), ' ', absl::SkipEmpty());
  constexpr size_t kStartTime = 19;  // field 22, counted from the one after the name
  return fields.size() > kStartTime ? fields[kStartTime] : "";
}

// Names this life of a process: its id means something within one PID namespace only (containers
// may share /dev/shm), and until it is used again.
std::string LifeOf(const std::string& pid) {
  return absl::StrCat(PidNamespace(), " ", pid, " ", StartTime(pid));
}

// Whether a folder of ours belongs to a process of this PID namespace that is gone.
bool IsOfTheDead(const fs::path& folder) {
  if (!absl::StartsWith(folder.filename().string(), kPrefix)) return false;
  const std::string owner = ReadText(folder / kOwner);
  const std::vector<std::string> parts = absl::StrSplit(owner, ' ');
  return parts.size() == 3 && parts[0] == PidNamespace() && LifeOf(parts[1]) != owner;
}

void ForEachFile(const std::string& folder, const std::function<void(const fs::path&)>& visit) {
  std::error_code error;
  std::vector<fs::path> files;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    files.push_back(it->path());
  }
  for (const fs::path& file : files) visit(file);
}

}  // namespace

void ShmFolder::Sweep(std::chrono::seconds linger) {
  ForEachFile(kRoot, [linger](const fs::path& folder) {
    if (!IsOfTheDead(folder)) return;
    std::error_code error;  // another start may be faster, or it is another user's
    const fs::path marker = folder / kDeadMarker;
    const fs::file_time_type marked = fs::last_write_time(marker, error);
    if (error) {
      std::ofstream(marker).put('\n');
    } else if (fs::file_time_type::clock::now() - marked >= linger) {
      fs::remove_all(folder, error);
    }
  });
}

void ShmFolder::Keep() const {
  ForEachFile(path_, [](const fs::path& file) {
    std::error_code ignored;
    fs::create_hard_link(file, file.string() + kKeptSuffix, ignored);
  });
}

void ShmFolder::Restore() const {
  ForEachFile(path_, [](const fs::path& file) {
    if (file.extension() != kKeptSuffix) return;
    std::error_code ignored;
    fs::rename(file, fs::path(file).replace_extension(), ignored);
  });
}

std::unique_ptr<ShmFolder> ShmFolder::Create() {
  Sweep(kLinger);
  // A short name: UCX puts it into addresses, where a path beyond about 45 characters is cut off
  // without a warning.
  std::string path = absl::StrCat(kRoot, "/", kPrefix, "XXXXXX");
  if (mkdtemp(path.data()) == nullptr) return nullptr;
  std::ofstream(absl::StrCat(path, "/", kOwner)) << LifeOf(absl::StrCat(getpid()));
  return std::unique_ptr<ShmFolder>(new ShmFolder(std::move(path)));
}

ShmFolder::ShmFolder(std::string path) : path_(std::move(path)) {}

}  // namespace tandem
