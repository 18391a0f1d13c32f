// The opening rule of a session, the same on both sides: the first message is the hello, no later
// one is, and the two ends share a wire version. Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/protocol/handshake.h"
#include "common/rpc/convert.h"

namespace tandem {

inline absl::Status CheckWireVersions(uint32_t version, uint32_t oldest) {
  if (version >= kOldestWireVersion && oldest <= kWireVersion) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("wire version mismatch: ours ",
                                                    kOldestWireVersion, " to ", kWireVersion,
                                                    ", theirs ", oldest, " to ", version));
}

// Takes the hello out of a session's first messages.
template <class Hello, class Message>
absl::StatusOr<Hello> TakeHello(std::vector<Message>* messages) {
  if (messages->empty() || !std::holds_alternative<Hello>(messages->front())) {
    return absl::InvalidArgumentError("the first message is not a hello");
  }
  Hello hello = std::get<Hello>(std::move(messages->front()));
  messages->erase(messages->begin());
  return hello;
}

template <class Hello, class Message>
absl::Status CheckNoHello(const std::vector<Message>& messages) {
  for (const Message& message : messages) {
    if (std::holds_alternative<Hello>(message)) {
      return absl::InvalidArgumentError("a hello that is not the first message");
    }
  }
  return absl::OkStatus();
}

// For messages about to be sent: each would be accepted, and none is the hello, which the session
// sends itself.
template <class Hello, class Message>
absl::Status CheckSendable(const std::vector<Message>& messages) {
  for (const Message& message : messages) {
    if (absl::Status status = Validate(message); !status.ok()) return status;
  }
  return CheckNoHello<Hello>(messages);
}

}  // namespace tandem
