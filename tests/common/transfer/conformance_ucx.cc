#include <gtest/gtest.h>

#include "common/base/check.h"
#include "common/transfer/ucx/ucx_transport.h"
#include "tests/common/transfer/conformance.h"

namespace tandem {
namespace {

std::unique_ptr<KvTransport> MakeUcx() {
  absl::StatusOr<std::unique_ptr<UcxTransport>> transport =
      UcxTransport::Create(UcxNetwork::kLoopback);
  TANDEM_CHECK_MSG(transport.ok(), transport.status().message());
  return *std::move(transport);
}

}  // namespace

std::pair<std::unique_ptr<KvTransport>, std::unique_ptr<KvTransport>> MakeTransportPair() {
  return {MakeUcx(), MakeUcx()};
}

const char* ExpectedLane() { return "tcp/lo"; }

}  // namespace tandem
