#include "common/base/worker_thread.h"

#include <pthread.h>

#include <utility>

namespace tandem {

WorkerThread::WorkerThread(const std::string& name, std::function<void()> body)
    : thread_([name = name.substr(0, 15), body = std::move(body)] {
        pthread_setname_np(pthread_self(), name.c_str());
        body();
      }) {}

void WorkerThread::Join() {
  if (thread_.joinable()) thread_.join();
}

}  // namespace tandem
