// The transport that a worker uses unless it is told otherwise: LocalTransport to peers of this
// host, UCX to all others.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "common/transfer/kv_transport.h"
#include "common/transfer/ucx/ucx_context.h"

namespace tandem {

// UCX alone where the user's environment chooses its transports (UCX_TLS), or where the kernel
// offers no LocalTransport. Any thread.
absl::StatusOr<std::unique_ptr<KvTransport>> MakeAutoTransport(UcxNetwork network);

}  // namespace tandem
