// ShmFolder is this process's own folder for UCX's shared memory files, below /dev/shm. The files
// outlive the process by a minute or more.
//
// Why: UCX 1.22 crashes on the first bytes of a peer whose shared memory has gone since they were
// sent, and by default it goes with the process (it is reached through /proc/<pid>), at the latest
// with the worker. With named files that stay, the peer is found dead in good order. The folder's
// name tells whose it is: each start removes those of processes that an earlier start has found
// dead, kLinger ago.
#pragma once

#include <chrono>
#include <memory>
#include <string>

namespace tandem {

class ShmFolder {
 public:
  // Null where /dev/shm cannot be used. Thread-safe.
  static std::unique_ptr<ShmFolder> Create();
  ShmFolder(const ShmFolder&) = delete;
  ShmFolder& operator=(const ShmFolder&) = delete;

  const std::string& path() const { return path_; }

  // UCX removes its files when a worker is destroyed: call Keep before and Restore after it.
  void Keep() const;
  void Restore() const;

  // Marks folders of dead processes, removes those marked at least `linger` ago. Create does it.
  static void Sweep(std::chrono::seconds linger);

 private:
  explicit ShmFolder(std::string path);

  const std::string path_;
};

}  // namespace tandem
