#include "common/transfer/ucx/shm_folder.h"

#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;

constexpr char kRoot[] = "/dev/shm";
constexpr char kPrefix[] = "tandem-ucx";
constexpr char kDeadMarker[] = "owner-is-dead";
constexpr char kKeptSuffix[] = ".kept";
// Longer than a stopped process may sleep and still find the first bytes of a peer.
constexpr std::chrono::seconds kLinger(60);

// Process ids mean something within one PID namespace only; containers may share /dev/shm.
std::string PidNamespace() {
  struct stat info {};
  return stat("/proc/self/ns/pid", &info) == 0 ? absl::StrCat(info.st_ino) : "0";
}

// When the process started, in the kernel's ticks: tells it from a later one with the same id.
// Empty: no such process.
std::string StartTime(const std::string& pid) {
  std::ifstream in(absl::StrCat("/proc/", pid, "/stat"));
  const std::string stat(std::istreambuf_iterator<char>(in), {});
  const size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos) return "";
  const std::vector<std::string> fields =
      absl::StrSplit(stat.substr(name_end + 1), ' ', absl::SkipEmpty());
  constexpr size_t kStartTime = 19;  // field 22, counted from the one after the name
  return fields.size() > kStartTime ? fields[kStartTime] : "";
}

// Whether a folder's name, "tandem-ucx.<pid namespace>.<pid>.<start time>.<number>", is that of a
// process that is gone.
bool IsOfTheDead(const std::string& name) {
  const std::vector<std::string> parts = absl::StrSplit(name, '.');
  return parts.size() == 5 && parts[0] == kPrefix && parts[1] == PidNamespace() &&
         StartTime(parts[2]) != parts[3];
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
    if (!IsOfTheDead(folder.filename().string())) return;
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
  static std::atomic<int> count{0};
  Sweep(kLinger);
  const std::string pid = absl::StrCat(getpid());
  std::string path = absl::StrCat(kRoot, "/", kPrefix, ".", PidNamespace(), ".", pid, ".",
                                  StartTime(pid), ".", count.fetch_add(1));
  if (mkdir(path.c_str(), 0700) != 0) return nullptr;
  return std::unique_ptr<ShmFolder>(new ShmFolder(std::move(path)));
}

ShmFolder::ShmFolder(std::string path) : path_(std::move(path)) {}

}  // namespace tandem
