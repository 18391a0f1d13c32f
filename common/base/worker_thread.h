// A named thread that is joined when its owner goes.
#pragma once

#include <functional>
#include <string>
#include <thread>

namespace tandem {

// The owner makes the body return (by closing the queue it reads) before this object is destroyed.
class WorkerThread {
 public:
  WorkerThread() = default;
  // `name` is cut to the 15 characters that the kernel keeps.
  WorkerThread(const std::string& name, std::function<void()> body);
  ~WorkerThread() { Join(); }
  WorkerThread(WorkerThread&&) = default;
  WorkerThread& operator=(WorkerThread&&) = delete;
  void Join();

 private:
  std::thread thread_;
};

}  // namespace tandem
