// Between router_messages.h and the bytes of a session: the one place where what a peer sent is
// judged.
//
// Every rule is checked on the plain structs by Validate, so a sender can ask the same question
// that the receiver will: sizes, enums, ranges, finite numbers, durations of at least 0. Not
// checked here, as it takes the model: token ids against the vocabulary, lengths against a worker's
// max_model_len. Pure functions.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/protocol/router_messages.h"

namespace tandem::v1 {
class RouterFrame;
class WorkerFrame;
}  // namespace tandem::v1

namespace tandem {

// Bounds of one message; beyond them it is INVALID_ARGUMENT.
inline constexpr size_t kMaxSequenceTokens = size_t{1} << 20;  // prompt, and outputs
inline constexpr size_t kMaxStopTokenIds = 1024;
inline constexpr int32_t kMaxTopLogprobs = 128;
inline constexpr size_t kMaxTokensPerFrame = 4096;
inline constexpr size_t kMaxNameBytes = 1024;    // names, trace ids, salts
inline constexpr size_t kMaxReasonBytes = 4096;  // free text; longer text is cut when sent
inline constexpr size_t kMaxAddressBytes = 64 << 10;
inline constexpr Duration kMaxWireDuration =
    std::chrono::hours(24 * 365);                   // longer ones are cut when sent
inline constexpr float kMinWireLogprob = -9999.0f;  // what -infinity becomes when sent
inline constexpr size_t kMaxMessagesPerFrame = 4096;
inline constexpr size_t kMaxFrameBytes = 16 << 20;  // gRPC refuses longer ones

// OK, or INVALID_ARGUMENT naming the field: "generate.prompt: empty". What Encode cuts is not an
// error.
absl::Status Validate(const RouterToWorker& message);
absl::Status Validate(const WorkerToRouter& message);

// REQUIRES: valid messages, at most kMaxMessagesPerFrame.
void EncodeFrame(absl::Span<const RouterToWorker> messages, v1::RouterFrame* frame);
void EncodeFrame(absl::Span<const WorkerToRouter> messages, v1::WorkerFrame* frame);

// All of a frame's messages, valid; or INVALID_ARGUMENT: "messages[2].generate.prompt: empty".
absl::StatusOr<std::vector<RouterToWorker>> DecodeFrame(const v1::RouterFrame& frame);
absl::StatusOr<std::vector<WorkerToRouter>> DecodeFrame(const v1::WorkerFrame& frame);

// The same from and to bytes.
std::string SerializeFrame(absl::Span<const RouterToWorker> messages);
std::string SerializeFrame(absl::Span<const WorkerToRouter> messages);
absl::StatusOr<std::vector<RouterToWorker>> ParseRouterFrame(absl::string_view bytes);
absl::StatusOr<std::vector<WorkerToRouter>> ParseWorkerFrame(absl::string_view bytes);

// About how many bytes the message takes in a frame; never less than half of the truth.
size_t EstimatedBytes(const RouterToWorker& message);
size_t EstimatedBytes(const WorkerToRouter& message);

}  // namespace tandem
