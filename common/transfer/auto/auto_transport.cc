#include "common/transfer/auto/auto_transport.h"

#include <cstdlib>
#include <utility>

#include "common/base/status_macros.h"
#include "common/transfer/local/local_transport.h"
#include "common/transfer/local/same_host_first.h"
#include "common/transfer/ucx/ucx_transport.h"

namespace tandem {

absl::StatusOr<std::unique_ptr<KvTransport>> MakeAutoTransport(UcxNetwork network) {
  ASSIGN_OR_RETURN(std::unique_ptr<KvTransport> ucx, UcxTransport::Create(network));
  if (std::getenv("UCX_TLS") != nullptr) return ucx;
  absl::StatusOr<std::unique_ptr<LocalTransport>> local = LocalTransport::Create();
  if (!local.ok()) return ucx;
  return std::make_unique<SameHostFirst>(*std::move(local), std::move(ucx));
}

}  // namespace tandem
