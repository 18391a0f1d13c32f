// The bytes of PeerMessage and SegmentHeader: little-endian, one version byte, one kind byte, then
// the fields in the order of their structs. Integers have fixed width, lists and texts a uint32
// count in front. Decoding trusts nothing: every count and bound of peer_messages.h is checked
// before memory is taken, and bytes after the last field are refused. Pure functions, any thread.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/protocol/peer_messages.h"

namespace tandem {

// No encoded control message of ours is longer; a transport refuses longer ones unread.
inline constexpr size_t kMaxPeerMessageBytes = size_t{1} << 19;
// No encoded segment header is longer.
inline constexpr size_t kMaxSegmentHeaderBytes = size_t{1} << 13;

// "Offer", "Commit" ...: for logs and reasons.
const char* PeerMessageName(const PeerMessage& message);

// REQUIRES: the bounds of peer_messages.h hold; texts that are too long are cut.
std::string EncodePeerMessage(const PeerMessage& message);
std::string EncodeSegmentHeader(const SegmentHeader& header);

// INVALID_ARGUMENT naming the message and the field when the bytes are not exactly one valid
// message.
absl::StatusOr<PeerMessage> DecodePeerMessage(absl::string_view bytes);
absl::StatusOr<SegmentHeader> DecodeSegmentHeader(absl::string_view bytes);

}  // namespace tandem
