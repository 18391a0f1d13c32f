// Addresses to listen on, and why one cannot be.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace tandem {

// "host:port", with brackets around an IPv6 address.
std::string ListenAddress(const std::string& host, uint16_t port);

// The host, as written, can be reached from this machine alone.
bool IsLoopback(absl::string_view host);

// OK when a socket can be bound to the address right now; else UNAVAILABLE: "cannot listen on
// 127.0.0.1:8001: Address already in use". gRPC itself keeps the reason in a log line.
absl::Status CheckCanListen(const std::string& host, uint16_t port);

}  // namespace tandem
