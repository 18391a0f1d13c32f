// What the gRPC server and client of the sessions have in common. Includes gRPC headers: for
// session_*.cc only.
#pragma once

#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/support/channel_arguments.h>
#include <grpcpp/support/status.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace tandem {

// The one place that decides how sessions are secured. Plain TCP: sessions stay on loopback.
std::shared_ptr<grpc::ChannelCredentials> SessionChannelCredentials();
std::shared_ptr<grpc::ServerCredentials> SessionServerCredentials();

// Integer channel arguments for both ends: keepalive, message sizes, no shared ports, no proxies,
// no retries.
std::vector<std::pair<std::string, int>> SessionChannelArguments();

absl::Status FromGrpc(const grpc::Status& status);
grpc::Status ToGrpc(const absl::Status& status);

// Sends gRPC's own log lines through ours. Idempotent.
void RouteGrpcLog();

}  // namespace tandem
