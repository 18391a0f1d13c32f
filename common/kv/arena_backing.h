// ArenaBacking gives a KV arena its pages before they are needed. A page of memory costs its first
// writer a zeroed page (and in a virtual machine often a slow exit to the host): a landing prompt
// would stall the running streams of its core for that.
//
// Works on a thread of its own, in the first second or two of a worker's life; what is used before
// its turn is backed by its first use as ever. At ordinary priority: it holds a lock of the address
// space meanwhile, which others must not wait for behind a thread that gets no processor. Contents
// do not change. The arena outlives it; destruction stops between two pieces.
#pragma once

#include <atomic>
#include <cstddef>

#include "common/base/worker_thread.h"
#include "common/kv/kv_arena.h"

namespace tandem {

class ArenaBacking {
 public:
  // Backs about `max_bytes` at most: memory that is not there would cost the process its life (the
  // kernel's killer of processes), not an error.
  ArenaBacking(KvArena* arena, size_t max_bytes);
  ~ArenaBacking();
  ArenaBacking(const ArenaBacking&) = delete;
  ArenaBacking& operator=(const ArenaBacking&) = delete;

  // Returns when all is backed, or cannot be.
  void WaitUntilDone() { thread_.Join(); }

 private:
  void Run();

  KvArena& arena_;
  const size_t max_bytes_;
  std::atomic<bool> stop_{false};
  WorkerThread thread_;  // last: it uses all of the above
};

}  // namespace tandem
