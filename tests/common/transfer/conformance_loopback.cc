#include "common/transfer/loopback/loopback_transport.h"
#include "tests/common/transfer/conformance.h"

namespace tandem {

std::pair<std::unique_ptr<KvTransport>, std::unique_ptr<KvTransport>> MakeTransportPair() {
  const auto hub = std::make_shared<LoopbackHub>();
  return {std::make_unique<LoopbackTransport>(hub), std::make_unique<LoopbackTransport>(hub)};
}

const char* ExpectedLane() { return "loopback/"; }

}  // namespace tandem
