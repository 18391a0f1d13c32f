#include <gtest/gtest.h>

#include "common/base/check.h"
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

// The memory of these tests is less than a huge page: shared on every kernel.
const char* ExpectedLane() { return "local/mapped"; }

}  // namespace tandem
