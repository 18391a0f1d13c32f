#include "common/transfer/auto/auto_transport.h"

#include <cstdlib>
#include <string>
#include <utility>

#include "common/base/status_macros.h"
#include "common/telemetry/log.h"
#include "common/transfer/local/local_transport.h"
#include "common/transfer/local/same_host_first.h"
#include "common/transfer/ucx/ucx_transport.h"

namespace tandem {

absl::StatusOr<std::unique_ptr<KvTransport>> MakeAutoTransport(UcxNetwork network, bool same_host) {
  ASSIGN_OR_RETURN(std::unique_ptr<KvTransport> ucx, UcxTransport::Create(network));
  std::unique_ptr<KvTransport> near;
  if (same_host && std::getenv("UCX_TLS") == nullptr) {
    absl::StatusOr<std::unique_ptr<LocalTransport>> local = LocalTransport::Create();
    if (local.ok()) {
      near = *std::move(local);
    } else {
      Log(Level::kWarn, "no transport within the host",
          {{"why", std::string(local.status().message())}});
    }
  }
  return std::make_unique<SameHostFirst>(std::move(near), std::move(ucx));
}

}  // namespace tandem
