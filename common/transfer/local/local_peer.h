// What the kernel does and tells about another process of this host: its name, who it is, its
// memory. Thread-safe.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tandem {

// UNAVAILABLE, with what errno says.
absl::Status LocalFailure(absl::string_view what);

std::string RandomLocalName();
// In Linux's abstract name space: it is no file, and it is gone with its listener. Returns the
// address's length; a name that is too long is cut.
socklen_t FillLocalAddress(absl::string_view name, sockaddr_un* address);

// The process that connected this Unix socket or listened to it. UNAVAILABLE: it is not of our user
// or namespace, or the kernel does not let us read its memory.
absl::StatusOr<pid_t> ReadablePeer(int fd);

// As process_vm_readv: bytes read, at most `length`; -1 with errno set.
ssize_t ReadFromProcess(pid_t process, uintptr_t source, void* memory, size_t length);

// Whether the peer has closed: it does so before it takes its memory back, so what was read before
// a look that finds it open was what it announced.
bool HungUp(int fd);

}  // namespace tandem
