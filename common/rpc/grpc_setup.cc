#include "common/rpc/grpc_setup.h"

#include <grpc/impl/codegen/grpc_types.h>
#include <grpc/support/log.h>

#include <mutex>

#include "common/rpc/convert.h"
#include "common/telemetry/log.h"

namespace tandem {
namespace {

void WriteGrpcLog(gpr_log_func_args* args) {
  // Its errors are mostly lost connections, which the sessions report themselves.
  const Level level = args->severity == GPR_LOG_SEVERITY_ERROR ? Level::kWarn : Level::kDebug;
  Log(level, "grpc", {{"message", args->message}, {"file", args->file}, {"line", args->line}});
}

}  // namespace

std::shared_ptr<grpc::ChannelCredentials> SessionChannelCredentials() {
  return grpc::InsecureChannelCredentials();
}

std::shared_ptr<grpc::ServerCredentials> SessionServerCredentials() {
  return grpc::InsecureServerCredentials();
}

std::vector<std::pair<std::string, int>> SessionChannelArguments() {
  return {
      {GRPC_ARG_MAX_SEND_MESSAGE_LENGTH, static_cast<int>(kMaxFrameBytes)},
      {GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, static_cast<int>(kMaxFrameBytes)},
      // Heartbeats of the cores judge liveness much sooner; this lets the kernel give up on a
      // vanished host.
      {GRPC_ARG_KEEPALIVE_TIME_MS, 20000},
      {GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5000},
      {GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5000},
      {GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0},
      {GRPC_ARG_HTTP2_BDP_PROBE,
       0},  // a ping per burst of data, for windows that the next line sets anyway
      {GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 1 << 20},
      {GRPC_ARG_ALLOW_REUSEPORT, 0},  // a busy port is an error
      {GRPC_ARG_ENABLE_HTTP_PROXY, 0},
      {GRPC_ARG_ENABLE_RETRIES, 0},
      {GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1},  // each attempt connects afresh, at once
  };
}

absl::Status FromGrpc(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

grpc::Status ToGrpc(const absl::Status& status) {
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

void RouteGrpcLog() {
  static std::once_flag once;
  std::call_once(once, [] { gpr_set_log_function(WriteGrpcLog); });
}

}  // namespace tandem
