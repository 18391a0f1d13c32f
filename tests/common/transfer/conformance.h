// What the conformance suite needs from a transport under test. Each test program links
// conformance_test.cc with one implementation of this.
#pragma once

#include <memory>
#include <utility>

#include "common/transfer/kv_transport.h"

namespace tandem {

// Two transports that can reach each other.
std::pair<std::unique_ptr<KvTransport>, std::unique_ptr<KvTransport>> MakeTransportPair();

// A transport name that DescribeLanes of a connection must contain.
const char* ExpectedLane();

}  // namespace tandem
