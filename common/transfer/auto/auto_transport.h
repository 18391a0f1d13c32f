// The transport that a worker uses unless it is told otherwise: LocalTransport to peers of this
// host, UCX to all others.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "common/transfer/kv_transport.h"
#include "common/transfer/ucx/ucx_context.h"

namespace tandem {

// UCX alone without `same_host`, where the user's environment chooses UCX's transports (UCX_TLS),
// or where the kernel offers no LocalTransport; such a worker and one that has both can pair. Any
// thread.
absl::StatusOr<std::unique_ptr<KvTransport>> MakeAutoTransport(UcxNetwork network,
                                                               bool same_host = true);

}  // namespace tandem
