#include "common/transfer/ucx/ucx_context.h"

#include <dlfcn.h>
#include <ucs/debug/debug.h>

#include <csignal>
#include <cstdlib>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/types/span.h"
#include "common/base/crc32c.h"
#include "common/base/status_macros.h"

namespace tandem {
namespace {

struct Setting {
  const char* name;  // without "UCX_"
  const char* value;
};

constexpr Setting kSettings[] = {
    // No shared memory: its receive queue belongs to all senders at once, and one that is killed
    // while it connects or sends can stall the queue for ever or crash the receiver (UCX 1.22).
    {"TLS", "^sm"},
    // How long the death of a peer goes unnoticed where no connection breaks; 20 s by default.
    {"KEEPALIVE_INTERVAL", "200ms"},
    // Over TCP UCX sends a segment right out of its memory, in pieces of RX_SEG_SIZE at most,
    // unless it thinks that copying it first, in pieces of TX_SEG_SIZE, is faster; it never thinks
    // so of equal sizes. Figures are in ../PERFORMANCE.md.
    {"TCP_TX_SEG_SIZE", "1m"},
    {"TCP_RX_SEG_SIZE", "1m"},
};

// Some builds of UCX take over the fatal signals when they are loaded. Crashes belong to the
// program, unless the user asked otherwise.
void ReleaseFatalSignals() {
  if (std::getenv("UCX_ERROR_SIGNALS") != nullptr || std::getenv("UCX_HANDLE_ERRORS") != nullptr) {
    return;
  }
  for (const int signal : {SIGILL, SIGSEGV, SIGBUS, SIGFPE}) {
    struct sigaction action {};
    Dl_info owner{};
    if (sigaction(signal, nullptr, &action) != 0) continue;
    if (dladdr(reinterpret_cast<void*>(action.sa_sigaction), &owner) == 0) continue;
    if (absl::StrContains(owner.dli_fname, "libucs")) ucs_debug_disable_signal(signal);
  }
}

// UCX aborts the process on bytes that are no address, so addresses travel sealed: magic, checksum,
// address. (Peers that forge one are trusted anyway, see kv_transport.h; this stops accidents.)
constexpr absl::string_view kAddressMagic = "TDU1";

uint32_t AddressChecksum(absl::string_view address) {
  return Crc32c(
      absl::MakeConstSpan(reinterpret_cast<const std::byte*>(address.data()), address.size()));
}

std::string SealAddress(absl::string_view address) {
  const uint32_t checksum = AddressChecksum(address);
  std::string sealed(kAddressMagic);
  sealed.append(reinterpret_cast<const char*>(&checksum), sizeof(checksum));
  return absl::StrCat(sealed, address);
}

}  // namespace

absl::Status UcxError(absl::string_view what, ucs_status_t status) {
  return absl::UnavailableError(absl::StrCat(what, ": ", ucs_status_string(status)));
}

absl::StatusOr<absl::string_view> OpenAddress(absl::string_view sealed) {
  absl::string_view address = sealed;
  uint32_t checksum = 0;
  if (absl::ConsumePrefix(&address, kAddressMagic) && address.size() > sizeof(checksum)) {
    std::memcpy(&checksum, address.data(), sizeof(checksum));
    address.remove_prefix(sizeof(checksum));
    if (AddressChecksum(address) == checksum) return address;
  }
  return absl::InvalidArgumentError("not an address of a UCX transport");
}

absl::StatusOr<std::unique_ptr<UcxContext>> UcxContext::Create(UcxNetwork network) {
  std::unique_ptr<UcxContext> context(new UcxContext);
  RETURN_IF_ERROR(context->Init(network));
  return context;
}

UcxContext::~UcxContext() {
  if (worker_ != nullptr) ucp_worker_destroy(worker_);
  if (context_ != nullptr) ucp_cleanup(context_);
}

// The user's environment wins.
absl::Status UcxContext::Set(ucp_config_t* config, absl::string_view name,
                             const std::string& value) {
  const std::string variable = absl::StrCat("UCX_", name);
  if (const char* theirs = std::getenv(variable.c_str())) {
    absl::StrAppend(&description_, variable, "=", theirs, " by the environment, ");
    return absl::OkStatus();
  }
  const ucs_status_t status = ucp_config_modify(config, std::string(name).c_str(), value.c_str());
  if (status != UCS_OK) return UcxError(absl::StrCat("setting ", variable), status);
  absl::StrAppend(&description_, variable, "=", value, ", ");
  return absl::OkStatus();
}

absl::Status UcxContext::Configure(UcxNetwork network, ucp_config_t* config) {
  description_ = absl::StrCat("ucx ", ucp_get_version_string(), " (");
  for (const Setting& setting : kSettings)
    RETURN_IF_ERROR(Set(config, setting.name, setting.value));
  if (network == UcxNetwork::kLoopback) RETURN_IF_ERROR(Set(config, "NET_DEVICES", "lo"));
  description_ = absl::StrCat(absl::StripSuffix(description_, ", "), ")");
  return absl::OkStatus();
}

absl::Status UcxContext::Init(UcxNetwork network) {
  ReleaseFatalSignals();
  ucp_config_t* config = nullptr;
  if (const ucs_status_t status = ucp_config_read(nullptr, nullptr, &config); status != UCS_OK) {
    return UcxError("reading the UCX configuration", status);
  }
  absl::Status configured = Configure(network, config);
  ucp_params_t params{};
  params.field_mask = UCP_PARAM_FIELD_FEATURES | UCP_PARAM_FIELD_NAME;
  // Active messages only: the receiver alone says where bytes go. No remote memory access for
  // peers.
  params.features = UCP_FEATURE_AM | UCP_FEATURE_WAKEUP;
  params.name = "tandem";
  ucs_status_t status = UCS_OK;
  if (configured.ok()) status = ucp_init(&params, config, &context_);
  ucp_config_release(config);
  RETURN_IF_ERROR(configured);
  if (status != UCS_OK) return UcxError("ucp_init", status);

  ucp_worker_params_t worker_params{};
  worker_params.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE;
  worker_params.thread_mode =
      UCS_THREAD_MODE_SERIALIZED;  // made by one thread, then used by another
  status = ucp_worker_create(context_, &worker_params, &worker_);
  if (status != UCS_OK) return UcxError("ucp_worker_create", status);
  status = ucp_worker_get_efd(worker_, &event_fd_);
  if (status != UCS_OK) return UcxError("ucp_worker_get_efd", status);

  ucp_worker_attr_t attr{};
  attr.field_mask = UCP_WORKER_ATTR_FIELD_MAX_AM_HEADER | UCP_WORKER_ATTR_FIELD_ADDRESS;
  status = ucp_worker_query(worker_, &attr);
  if (status != UCS_OK) return UcxError("ucp_worker_query", status);
  max_am_header_ = attr.max_am_header;
  address_ = SealAddress({reinterpret_cast<const char*>(attr.address), attr.address_length});
  ucp_worker_release_address(worker_, attr.address);
  return absl::OkStatus();
}

}  // namespace tandem
