// UcxContext sets up UCX for this process: configuration, one context and one worker. Moves nothing
// itself.
//
// Settings that Tandem needs are made in-process and only where the user's environment (UCX_*) does
// not say otherwise. Which transports are used is UCX's choice among all but shared memory: RDMA
// where there is any, else TCP. Owned and called by the transfer thread.
#pragma once

#include <ucp/api/ucp.h>

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tandem {

// "`what`: `UCX's text`", UNAVAILABLE when the peer or the network is the cause.
absl::Status UcxError(absl::string_view what, ucs_status_t status);

// UCX's own address inside a UcxContext::address(); INVALID_ARGUMENT for anything else.
absl::StatusOr<absl::string_view> OpenAddress(absl::string_view sealed);

// Which network interfaces UCX may use. It has no protection of its own, so a worker that serves on
// the loopback alone must not open a port on the others.
enum class UcxNetwork : uint8_t { kLoopback, kAll };

class UcxContext {
 public:
  static absl::StatusOr<std::unique_ptr<UcxContext>> Create(UcxNetwork network);
  ~UcxContext();  // all endpoints are closed before
  UcxContext(const UcxContext&) = delete;
  UcxContext& operator=(const UcxContext&) = delete;

  ucp_worker_h worker() const { return worker_; }
  // What peers connect to; sealed, see OpenAddress.
  const std::string& address() const { return address_; }
  int event_fd() const { return event_fd_; }
  size_t max_am_header() const { return max_am_header_; }
  // "ucx 1.22.0 (UCX_TLS=tcp,self by the environment, UCX_KEEPALIVE_INTERVAL=200ms ...)".
  const std::string& description() const { return description_; }

 private:
  UcxContext() = default;
  absl::Status Init(UcxNetwork network);
  absl::Status Configure(UcxNetwork network, ucp_config_t* config);
  absl::Status Set(ucp_config_t* config, absl::string_view name, const std::string& value);

  ucp_context_h context_ = nullptr;
  ucp_worker_h worker_ = nullptr;
  std::string address_;
  std::string description_;
  int event_fd_ = -1;
  size_t max_am_header_ = 0;
};

}  // namespace tandem
