#include <gtest/gtest.h>

#include "common/base/check.h"
#include "common/base/shareable_memory.h"
#include "common/transfer/local/local_transport.h"
#include "tests/common/transfer/conformance.h"

namespace tandem {
namespace {

std::unique_ptr<KvTransport> MakeLocal() {
  absl::StatusOr<std::unique_ptr<LocalTransport>> transport = LocalTransport::Create();
  TANDEM_CHECK_MSG(transport.ok(), transport.status().message());
  return *std::move(transport);
}

}  // namespace

std::pair<std::unique_ptr<KvTransport>, std::unique_ptr<KvTransport>> MakeTransportPair() {
  return {MakeLocal(), MakeLocal()};
}

// The memory of these tests is less than a huge page: shared wherever any is.
const char* ExpectedLane() {
  const bool shared = ShareableMemory::Create(4096).value()->region().fd >= 0;
  return shared ? "local/mapped" : "local/process_vm_readv";
}

}  // namespace tandem
